//! Flat `f32` model parameters, their layout, and the digests that name them.
//!
//! Owns: [`Digest`] (the one name for bytes in Folkmoot), [`Architecture`] (which model a plan asks for),
//! [`Layout`] (names and shapes of its tensors, in their fixed order) and [`Params`] (the values). A client's
//! update is a difference of two [`Params`]; the server adds one.
//!
//! Does not: train, clip, quantise, store or send anything. It knows no file, no clock and no random
//! generator of its own.
//!
//! ```text
//! Architecture --layout--> Layout --new/initialise--> Params --difference--> update f32[d]
//!                                                     Params <----add------- update f32[d]
//! ```
//!
//! # Example
//!
//! ```
//! use params::{Activation, Architecture, Params};
//!
//! let architecture = Architecture::perceptron(2, &[], Activation::Relu, 3);
//! let base = Params::zeros(architecture.layout());
//! let next = base.add(&[1.0; 9])?;
//! assert_eq!(next.difference(&base), vec![1.0; 9]);
//! assert_ne!(next.digest(), base.digest());
//! # Ok::<(), params::ParamsError>(())
//! ```
//!
//! # Papers
//!
//! Initial weights follow LeCun et al. 1998, *Efficient BackProp*, and He et al. 2015, *Delving Deep into
//! Rectifiers*.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]

mod architecture;
mod digest;
mod layer;
mod layout;
mod values;

pub use architecture::{Activation, Architecture, ArchitectureError, Stage};
pub use digest::{Digest, ParseDigestError};
pub use layer::{Layer, Shape};
pub use layout::{Layout, LayoutEntry, LayoutError};
pub use values::{Params, ParamsError};
