//! The mathematics and the texts of a transparency log: hashes, tiles, proofs, checkpoints, signatures.
//!
//! Owns: the Merkle tree of RFC 6962 ([`leaf_hash`], [`root`], proofs and their verification), the files of a tiled
//! log ([`Tile`], [`Edge`], entry bundles), signed notes ([`Note`], [`VerifierKey`]), checkpoints ([`Checkpoint`]),
//! witnesses' cosignatures and the offline receipt ([`Receipt`]).
//!
//! Does not: read or write files, know what an entry means, or draw randomness. The crate `audit` keeps a log.
//!
//! ```text
//! checkpoint     origin, size, root       signed by the log, cosigned by witnesses
//!                      |
//! tile/1/000     [ h0 ............ ]      256 hashes, each of 256 below
//!                  |
//! tile/0/000     [ leaf hashes     ]      SHA-256(0x00 | entry)
//!                  |
//! tile/entries/000 [ entries       ]      u16 length | bytes, big endian
//! ```
//!
//! A full tile never changes. The last one of each row is partial, `tile/0/000.p/17`, until it has 256 hashes.
//!
//! # Example
//!
//! ```
//! use tlog::{Edge, inclusion_proof, leaf_hash, verify_inclusion};
//!
//! let leaves = [leaf_hash(b"received"), leaf_hash(b"published"), leaf_hash(b"sent")];
//! let mut edge = Edge::new();
//! for leaf in leaves {
//!     edge.push(leaf);
//! }
//! // A proof is made from whatever can read the hash of a complete subtree.
//! let mut read = |level: u8, index: u64| match (level, index) {
//!     (0, index) => Ok::<_, ()>(leaves[index as usize]),
//!     _ => Ok(tlog::node_hash(&leaves[0], &leaves[1])),
//! };
//! let proof = inclusion_proof(2, 3, &mut read)?;
//! assert!(verify_inclusion(3, &edge.root(), 2, &leaves[2], &proof));
//! # Ok::<(), ()>(())
//! ```
//!
//! # Papers
//!
//! RFC 6962 and RFC 9162 section 2.1 (the tree, verification of proofs); c2sp.org tlog-tiles, tlog-checkpoint,
//! signed-note, tlog-cosignature (Ed25519 only), tlog-proof; RFC 8032 (verified strictly).

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod checkpoint;
mod note;
mod tile;
mod tree;

pub use checkpoint::{Checkpoint, Receipt};
pub use note::{Note, NoteError, VerifierKey};
pub use tile::{
    ENTRY_BYTES_MAX, Edge, TILE_WIDTH, Tile, TileError, TileReader, TileRow, decode_bundle, encode_bundle,
};
pub use tree::{
    Hash, consistency_proof, inclusion_proof, leaf_hash, node_hash, root, verify_consistency,
    verify_inclusion,
};
