//! Compiles `proto/folkmoot/v1` without `protoc`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../../proto");
    let package = root.join("folkmoot/v1");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&package)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|e| e == "proto"));
    // A folder lists its files in any order; the generated code must not depend on it.
    files.sort();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    fs::write(out.join("folkmoot.v1.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .btree_map(".folkmoot.v1")
        // Chunks are sliced out of the received frame instead of copied.
        .bytes(".folkmoot.v1.ModelData.data")
        .bytes(".folkmoot.v1.UploadData.data")
        // It carries a secret: what it shows is written by hand.
        .skip_debug([".folkmoot.v1.JoinRequest"])
        .compile_fds(compiler.file_descriptor_set())?;
    emit(&format!("cargo:rerun-if-changed={}", package.display()));
    Ok(())
}

// Cargo reads a build script's instructions from its standard output.
#[allow(clippy::print_stdout)]
fn emit(instruction: &str) {
    println!("{instruction}");
}
