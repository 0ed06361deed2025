//! Tells the program what its numbers depend on: a digest of its sources and of the packages it is built from. A cache
//! that another build filled is then never taken for its own.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let (mut sources, mut digest) = (BTreeSet::new(), DefaultHasher::new());
    collect(Path::new("src"), &mut sources)?;
    sources.extend(["Cargo.toml", "Cargo.lock"].map(PathBuf::from).into_iter().filter(|path| path.exists()));
    for path in &sources {
        (path, fs::read(path)?).hash(&mut digest);
    }
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rustc-env=SVDKIT_SOURCES={:016x}", digest.finish());
    Ok(())
}

fn collect(folder: &Path, sources: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, sources)?;
        } else {
            sources.insert(path);
        }
    }
    Ok(())
}
