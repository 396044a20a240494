use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::tree::{consistency_proof, inclusion_proof, leaf_hash, verify_consistency, verify_inclusion};

fn tile(row: TileRow, index: u64, width: u16) -> Tile {
    Tile { row, index, width }
}

/// A log's tiles of hashes as files, and its edge.
fn grow(size: u64) -> (BTreeMap<String, Vec<u8>>, Edge) {
    let mut edge = Edge::new();
    let mut files = BTreeMap::new();
    for n in 0..size {
        let full = edge.push(leaf_hash(&n.to_be_bytes()));
        files.extend(full.into_iter().map(|(tile, bytes)| (tile.to_string(), bytes)));
    }
    files.extend(edge.partials().map(|(tile, bytes)| (tile.to_string(), bytes)));
    (files, edge)
}

fn load(files: &BTreeMap<String, Vec<u8>>) -> impl FnMut(&Tile) -> Result<Vec<u8>, TileError> {
    |tile| Ok(files.get(&tile.to_string()).unwrap_or_else(|| panic!("no {tile}")).clone())
}

#[test]
fn names_are_those_of_the_specification() {
    assert_eq!(tile(TileRow::Hashes(0), 0, 256).to_string(), "tile/0/000");
    assert_eq!(tile(TileRow::Hashes(2), 999, 1).to_string(), "tile/2/999.p/1");
    assert_eq!(tile(TileRow::Entries, 1000, 256).to_string(), "tile/entries/x001/000");
    assert_eq!(tile(TileRow::Hashes(0), 1_234_067, 256).to_string(), "tile/0/x001/x234/067");
    assert_eq!(tile(TileRow::Entries, 1_234_067, 255).to_string(), "tile/entries/x001/x234/067.p/255");
}

#[test]
fn a_tree_has_the_tiles_that_the_specification_lists() {
    // The example of the specification: 70,000 entries.
    let tiles: Vec<String> = Tile::of_tree(70_000).map(|tile| tile.to_string()).collect();
    let of = |start: &str| tiles.iter().filter(|name| name.starts_with(start)).count();
    assert_eq!((of("tile/0/"), of("tile/entries/"), of("tile/1/"), of("tile/2/")), (274, 274, 2, 1));
    for name in ["tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"] {
        assert!(tiles.iter().any(|tile| tile == name), "{name}");
    }
    assert_eq!(tiles.len(), 551);
    assert_eq!(Tile::of_tree(0).count(), 0);
    let partials: Vec<String> = Tile::partials_of_tree(256).map(|tile| tile.to_string()).collect();
    assert_eq!(partials, ["tile/1/000.p/1"]);
    assert_eq!(Tile::of_entry(69_999, 70_000).to_string(), "tile/entries/273.p/112");
}

#[test]
fn an_edge_makes_exactly_the_tiles_of_its_tree() {
    for size in [0, 1, 255, 256, 257, 512, 700, 65_536, 65_537] {
        let (files, edge) = grow(size);
        let hashes = Tile::of_tree(size).filter(|tile| tile.row != TileRow::Entries);
        let mut names: Vec<String> = hashes.map(|tile| tile.to_string()).collect();
        names.sort();
        // Full tiles only stay; a partial one is written once, at the end.
        assert_eq!(files.keys().cloned().collect::<Vec<_>>(), names, "size {size}");
        assert_eq!(edge.size(), size);
        let mut reader = TileReader::new(size, load(&files));
        assert_eq!(root(size, &mut |l, i| reader.read(l, i)), Ok(edge.root()), "size {size}");
    }
}

#[test]
fn proofs_read_from_tiles_verify_up_to_the_third_row() {
    let size = 65_536 + 300;
    let (files, edge) = grow(size);
    let mut reader = TileReader::new(size, load(&files));
    for index in [0, 255, 256, 65_535, 65_536, 65_700, size - 1] {
        let proof = inclusion_proof(index, size, &mut |l, i| reader.read::<TileError>(l, i)).unwrap();
        let leaf = leaf_hash(&index.to_be_bytes());
        assert!(verify_inclusion(size, &edge.root(), index, &leaf, &proof), "{index}");
    }
    for old in [1, 256, 65_535, 65_536, 65_537, size] {
        let proof = consistency_proof(old, size, &mut |l, i| reader.read::<TileError>(l, i)).unwrap();
        assert!(verify_consistency(old, &grow(old).1.root(), size, &edge.root(), &proof), "{old}");
    }
}

#[test]
fn a_tile_of_another_width_is_refused_by_name() {
    let short = tile(TileRow::Hashes(0), 3, 2);
    assert_eq!(short.hashes(&[0; 64]).unwrap().len(), 2);
    for bytes in [0, 32, 63, 65, 96] {
        let error = short.hashes(&vec![0; bytes]).unwrap_err();
        assert!(error.to_string().contains("tile/0/003.p/2"), "{error}");
    }
    let bundle = tile(TileRow::Entries, 0, 2);
    assert!(bundle.entries(&encode_bundle(&["a", ""]).unwrap()).is_ok());
    assert_eq!(bundle.entries(&encode_bundle(&["a"]).unwrap()), Err(TileError::Width(bundle)));
    let mut reader = TileReader::new(3, |_: &Tile| Ok::<_, TileError>(vec![0; 64]));
    assert!(reader.read(0, 0).is_err());
}

#[test]
fn bundle_bytes_are_as_documented_and_nothing_may_be_left_over() {
    let bytes = encode_bundle(&[&b"ab"[..], b"", b"c"]).unwrap();
    assert_eq!(bytes, b"\0\x02ab\0\0\0\x01c");
    assert_eq!(decode_bundle(&bytes).unwrap(), [&b"ab"[..], b"", b"c"]);
    for cut in [1, 2, 3, 7, 8] {
        assert!(decode_bundle(&bytes[..cut]).is_none(), "{cut}");
    }
    let longest = vec![7; ENTRY_BYTES_MAX];
    assert_eq!(decode_bundle(&encode_bundle(&[&longest]).unwrap()).unwrap(), [&longest]);
    assert_eq!(encode_bundle(&[vec![7; 65_536]]), Err(TileError::EntryTooLong(65_536)));
}

proptest! {
    #[test]
    fn bundles_read_back(entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20)) {
        let bytes = encode_bundle(&entries).unwrap();
        prop_assert_eq!(decode_bundle(&bytes).unwrap(), entries.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }

    #[test]
    fn any_bytes_decode_or_are_refused_and_what_decodes_encodes_alike(bytes: Vec<u8>) {
        if let Some(entries) = decode_bundle(&bytes) {
            prop_assert_eq!(encode_bundle(&entries).unwrap(), bytes);
        }
    }
}
