//! What the program is made of: where its own code is unsafe, and what the image says is in it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::run;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Blocks, functions, traits, implementations and attributes that are unsafe.
fn unsafe_places(source: &str) -> usize {
    const BEGIN: [&str; 6] = [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe trait",
        "unsafe extern",
        "#[unsafe(",
    ];
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.map(|line| BEGIN.iter().filter(|begin| line.contains(**begin)).count())
        .sum()
}

#[test]
fn unsafe_code_is_where_it_is_said_to_be() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let counted = files.iter().map(|path| {
        let name = path.strip_prefix(root()).expect("below it").display();
        let source = fs::read_to_string(path).expect("a file");
        (name.to_string(), unsafe_places(&source))
    });
    let found: BTreeMap<String, usize> = counted.filter(|(_, n)| *n > 0).collect();
    let known = [("src/netns/sys.rs", 3), ("src/proxy/memory.rs", 2)];
    let known = known.map(|(name, n)| (name.to_owned(), n)).into();
    assert_eq!(found, known, "docs/security.md says so too");
    let page = fs::read_to_string(root().join("docs/security.md")).expect("a page");
    assert!(found.keys().all(|name| page.contains(name)));
}

#[test]
fn the_bill_of_materials_names_every_crate_with_its_licence() {
    let printed = run(&mut Command::new(root().join("scripts/sbom"))).success();
    let bom: serde_json::Value = serde_json::from_slice(&printed.stdout).expect("JSON");
    let components = bom["components"].as_array().expect("a list");
    for component in components {
        assert!(
            component["licenses"][0]["expression"].is_string(),
            "{component}"
        );
        assert_eq!(component["hashes"][0]["alg"], "SHA-256", "{component}");
    }
    let names: Vec<&str> = components
        .iter()
        .filter_map(|c| c["name"].as_str())
        .collect();
    for linked in ["tokio", "rustls", "aws-lc-rs", "h2", "libmimalloc-sys"] {
        assert!(names.contains(&linked), "{linked} is missing");
    }
    for not_linked in ["proptest", "insta", "protox", "serde_derive"] {
        assert!(
            !names.contains(&not_linked),
            "{not_linked} is not in the binary"
        );
    }
}
