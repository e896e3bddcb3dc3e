//! A proxy inside callgrind, valgrind's tool that counts the instructions that a process executes
//! and the calls between its functions. Counting is off until it is asked for.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use crate::harness::{
    Process, run,
    tools::{command, tool},
};

/// What a process did while it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub instructions: u64,
    /// Calls that got memory or changed how much there was, by Rust's code and by C's.
    pub allocations: u64,
}

/// What runs a proxy; `NAME` stands for the proxy's.
pub fn inside(dir: &Path) -> Vec<String> {
    let valgrind = tool("valgrind").display().to_string();
    let options = [
        "--tool=callgrind",
        "--instr-atstart=no",
        "--separate-threads=yes",
        // A dump is read line by line: every line with the names in full.
        "--compress-strings=no",
        "--quiet",
    ];
    let out = format!("--callgrind-out-file={}", dir.join("NAME").display());
    let options = options.map(str::to_owned);
    [valgrind].into_iter().chain(options).chain([out]).collect()
}

/// Counts from here on.
pub fn begin(proxy: &Process) {
    ask(proxy, &["instrumentation", "on"]);
}

/// Says what the worker did since [`begin`], and where the dump is that tells more. The worker is
/// the thread that did the most: others save what is known or talk to the controller when it is
/// time to, which is not what a request costs.
///
/// # Panics
/// When the dump is not as expected: another valgrind, or a binary without symbols.
pub fn end(proxy: &Process, dir: &Path, name: &str) -> (Counted, PathBuf) {
    ask(proxy, &["dump"]);
    let of_thread = |file: &PathBuf| {
        let name_of = file.file_name().and_then(OsStr::to_str);
        name_of.is_some_and(|file| file.starts_with(&format!("{name}.1-")))
    };
    let files = fs::read_dir(dir).expect("an own folder").flatten();
    let dumps = files.map(|entry| entry.path()).filter(of_thread);
    let read = |file: PathBuf| {
        let dump = fs::read_to_string(&file).expect("callgrind wrote it");
        let counted = read(&dump).unwrap_or_else(|lack| panic!("{}: {lack}", file.display()));
        (counted, file)
    };
    let busiest = dumps
        .map(read)
        .max_by_key(|(counted, _)| counted.instructions);
    let (counted, file) = busiest.expect("a dump for each thread");
    assert!(
        counted.allocations > 0,
        "{} shows no allocation: the binary lacks its symbols",
        file.display()
    );
    (counted, file)
}

/// Gives an order to callgrind inside the process.
fn ask(proxy: &Process, order: &[&str]) {
    let mut vgdb = command("vgdb");
    vgdb.arg(format!("--pid={}", proxy.pid().as_raw_nonzero()));
    run(vgdb.args(order)).success();
}

/// Reads callgrind's format. Of each call there is a line with who is called, `cfn=NAME`, and one
/// with how often, `calls=COUNT POSITION`.
fn read(dump: &str) -> Result<Counted, &'static str> {
    let (mut instructions, mut allocations, mut callee) = (None, 0, "");
    for line in dump.lines() {
        let Some((key, value)) = line.split_once(['=', ':']) else {
            continue;
        };
        match key {
            "events" if value.trim() != "Ir" => return Err("it counts more than instructions"),
            "totals" => instructions = value.trim().parse().ok(),
            "cfn" => callee = value,
            "calls" if is_allocator(callee) => {
                let count = value.split(' ').next().and_then(|count| count.parse().ok());
                let count: u64 = count.ok_or("a call without a count")?;
                allocations += count;
            }
            _ => {}
        }
    }
    Ok(Counted {
        instructions: instructions.ok_or("it has no total")?,
        allocations,
    })
}

/// Where allocations begin: the functions that the compiler makes of Rust's allocations, and
/// those of C. What the allocator calls within itself does not count again.
fn is_allocator(function: &str) -> bool {
    const RUST: [&str; 3] = ["__rust_alloc", "__rust_alloc_zeroed", "__rust_realloc"];
    const C: [&str; 5] = [
        "malloc",
        "calloc",
        "realloc",
        "posix_memalign",
        "aligned_alloc",
    ];
    C.contains(&function)
        || function
            .strip_prefix("__rustc::")
            .is_some_and(|name| RUST.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "\
version: 1
positions: line
events: Ir

fn=app::serve
0 40
cfn=__rustc::__rust_alloc
calls=3 0
0 90
cfn=app::other
calls=5 0
0 10
cfn=malloc
calls=2 0
0 20
fn=__rustc::__rust_alloc
0 9
cfn=mi_malloc_aligned
calls=3 0
0 81

totals: 169
";

    #[test]
    fn every_allocation_counts_once() {
        let counted = read(DUMP).expect("a dump");
        let expected = Counted {
            instructions: 169,
            allocations: 5,
        };
        assert_eq!(counted, expected);
    }

    #[test]
    fn another_dump_is_refused() {
        assert!(read(&DUMP.replace("totals", "t")).is_err());
        assert!(read(&DUMP.replace("events: Ir", "events: Ir Dr")).is_err());
    }
}
