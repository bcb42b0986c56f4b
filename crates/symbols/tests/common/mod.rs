//! Programs in C that the machine's compilers make, and peers that judge what is read of them.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use symbols::{Image, Memory, MemoryError, ObjectFile, Placement, Program};

/// The memory that files describe: what a program finds when it starts.
pub(crate) struct FileMemory(pub(crate) Vec<Arc<Image>>);

impl Memory for FileMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        if let Some(bytes) = self.0.iter().find_map(|image| image.read(address, buf.len())) {
            buf.copy_from_slice(&bytes);
            return Ok(());
        }
        for (at, byte) in (address..).zip(buf.iter_mut()) {
            let image = self.0.iter().find(|image| image.contains(at));
            let image = image.ok_or_else(|| MemoryError { address: at, reason: "in no section".to_owned() })?;
            // What has no bytes in the file is zero when the program starts.
            *byte = image.read(at, 1).map_or(0, |bytes| bytes[0]);
        }
        Ok(())
    }
}

/// A source file of the tests.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name)
}

/// Says that `test` is skipped and why; fails it where peers are required.
#[track_caller]
pub(crate) fn skip(test: &str, why: &str) {
    // Not `eprintln!`, which the test harness captures.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
    let required = std::env::var_os("TINE_REQUIRE_PEERS").is_some_and(|value| value != "0");
    assert!(!required, "{test} must not be skipped: {why}");
}

/// The first of these programs that is installed; without one, `test` is to return at once.
#[track_caller]
pub(crate) fn peer(test: &str, programs: &[&str]) -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&search).collect();
    let found = programs.iter().flat_map(|program| folders.iter().map(move |folder| folder.join(program)));
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        skip(test, &format!("{} is not installed", programs[0]));
    }
    found
}

/// Clang, under the names that systems give it.
pub(crate) const CLANG: [&str; 9] =
    ["clang", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14", "clang-13"];

/// Runs a command; its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Compiles and links a source file in `folder`; `None` where this compiler cannot do what the arguments ask.
pub(crate) fn compile(compiler: &Path, folder: &Path, name: &str, arguments: &[&str]) -> Option<PathBuf> {
    // Not within the project: split debug information goes where the compiler runs.
    let result = folder.join(name.replace(".c", ""));
    let fixed: &[&str] = match arguments.iter().any(|argument| matches!(*argument, "-c" | "-pie")) {
        true => &[],
        false => &["-fno-pie", "-no-pie"],
    };
    let output = Command::new(compiler)
        .current_dir(folder)
        .arg("-O1")
        .args(fixed)
        .args(arguments)
        .arg(source(name))
        .arg("-o")
        .arg(&result)
        .stdin(Stdio::null())
        .output()
        .expect("the compiler runs");
    output.status.success().then_some(result)
}

/// A linked file at the addresses that it was linked for.
pub(crate) fn image(path: &Path) -> Arc<Image> {
    let file = ObjectFile::open(path).expect("the compiler makes ELF files");
    let debug = file.find_debug(&[]);
    Arc::new(Image::new("kernel", file, debug, Placement::AsLinked).expect("an image"))
}

/// A program of one image, and the memory that it starts with.
pub(crate) fn program(image: &Arc<Image>) -> Program {
    Program::new(vec![image.clone()], Arc::new(FileMemory(vec![image.clone()]))).expect("a program")
}

/// The line of a source file that carries a mark.
pub(crate) fn line_of(name: &str, mark: &str) -> u32 {
    let text = std::fs::read_to_string(source(name)).expect("the source");
    text.lines().position(|line| line.contains(mark)).expect("the mark") as u32 + 1
}
