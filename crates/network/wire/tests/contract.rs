//! `proto/generated` is what `proto/folkmoot/v1` compiles to.
//!
//! The generated code lies in the repository, so that nobody who builds the programs compiles a protobuf compiler first. After a
//! change of a `.proto` file make it anew:
//!
//! ```sh
//! FOLKMOOT_GENERATE=1 cargo test -p wire --test contract
//! ```

use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

const CODE: &str = "folkmoot.v1.rs";
const DESCRIPTORS: &str = "folkmoot.v1.bin";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../proto")
}

/// The code and the descriptors, compiled without `protoc`.
fn compiled() -> (String, Vec<u8>) {
    let package = root().join("folkmoot/v1");
    let mut files: Vec<PathBuf> =
        fs::read_dir(&package).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    // A folder lists its files in any order; the generated code must not depend on it.
    files.sort();
    let mut compiler = protox::Compiler::new([root()]).unwrap();
    compiler.include_imports(true).include_source_info(true).open_files(&files).unwrap();
    let out = tempfile::tempdir().unwrap();
    tonic_prost_build::configure()
        .out_dir(out.path())
        .btree_map(".folkmoot.v1")
        // Chunks are sliced out of the received frame instead of copied.
        .bytes(".folkmoot.v1.ModelData.data")
        .bytes(".folkmoot.v1.PublishedFile.data")
        .bytes(".folkmoot.v1.UploadData.data")
        // It carries a secret: what it shows is written by hand.
        .skip_debug([".folkmoot.v1.JoinRequest"])
        .compile_fds(compiler.file_descriptor_set())
        .unwrap();
    let mut descriptors = compiler.file_descriptor_set();
    // Reflection serves declarations; their comments are in the `.proto` files and in the code.
    descriptors.file.iter_mut().for_each(|file| file.source_code_info = None);
    (fs::read_to_string(out.path().join(CODE)).unwrap(), descriptors.encode_to_vec())
}

#[test]
fn the_generated_code_is_what_the_contract_compiles_to() {
    let (code, descriptors) = compiled();
    let generated = root().join("generated");
    if env::var_os("FOLKMOOT_GENERATE").is_some() {
        fs::write(generated.join(CODE), &code).unwrap();
        fs::write(generated.join(DESCRIPTORS), &descriptors).unwrap();
    }
    let again = "proto/folkmoot/v1 has changed: FOLKMOOT_GENERATE=1 cargo test -p wire --test contract";
    let kept = fs::read_to_string(generated.join(CODE)).unwrap();
    let differs = kept.lines().zip(code.lines()).position(|(kept, made)| kept != made);
    assert!(kept == code, "{CODE} differs from line {:?} on; {again}", differs.map(|line| line + 1));
    assert!(fs::read(generated.join(DESCRIPTORS)).unwrap() == descriptors, "{DESCRIPTORS} differs; {again}");
}
