//! The tests' own evaluator, and policies drawn at random.

#![expect(unreachable_pub, reason = "the files are modules of another crate too")]

#[path = "../../../tests/src/drawn.rs"]
pub(crate) mod drawn;
#[path = "../../../tests/src/policies.rs"]
pub(crate) mod policies;
