//! See `waysteer_fuzz::mesh`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: waysteer_fuzz::seeds::write(waysteer_fuzz::seeds::meshes()),
    |data: &[u8]| waysteer_fuzz::mesh::run(data)
);
