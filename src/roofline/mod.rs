//! How fast a machine could be: what calls cost, what the machine can do, and what follows.
//!
//! Pure functions on numbers and facts; knows no files, no plans and no engine.
//!
//! | question | where |
//! |---|---|
//! | how many bytes and FLOPs has a call | `cost` |
//! | which of the engine's kernels does it run | `work`, [`kernel`] |
//! | how long do these take on this machine | [`ceiling`] |
//! | so how long would the call take, and what limits it | `predict` |
//! | what curve do measured steps follow, and what does it say of batches not measured | `fit` |

pub mod ceiling;
pub(crate) mod cost;
pub(crate) mod fit;
pub mod kernel;
pub(crate) mod predict;
pub mod slice;
pub(crate) mod work;
