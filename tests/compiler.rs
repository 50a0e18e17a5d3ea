//! What the compiler makes of the engine's sources, where a version of it is known to be wrong.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::process::Command;

/// As llama.cpp configures the tiles of Intel's AMX: a block of 64 bytes on the stack, of which the processor reads all.
const CONFIGURES_TILES: &str = r"
#include <immintrin.h>
struct Config { unsigned char palette, start, zero[14]; unsigned short bytes[16]; unsigned char rows[16]; };
void configure(unsigned char n_rows) {
    alignas(64) Config c = {};
    c.palette = 1;
    c.rows[5] = n_rows;
    _tile_loadconfig(&c);
}";

/// GCC 12.2 removes what is written behind the first 8 bytes, and every kernel for AMX ends with SIGILL. Cargo gives
/// this test the variable of .cargo/config.toml that it gives to the engine's build.
#[test]
fn a_configuration_of_tiles_is_written_whole() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (source, assembly) = (
        folder.path().join("tiles.cpp"),
        folder.path().join("tiles.s"),
    );
    fs::write(&source, CONFIGURES_TILES).expect("writes");
    let done = Command::new("c++")
        .args(["-O3", "-mamx-tile", "-S", "-o"])
        .args([&assembly, &source])
        .output()
        .expect("the compiler that built the engine");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    let assembly = fs::read_to_string(assembly).expect("assembly");
    // The argument's register.
    assert!(assembly.contains("dil"), "{assembly}");
    assert!(assembly.contains("ldtilecfg"), "{assembly}");
}
