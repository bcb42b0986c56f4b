//! A small program in C, compiled by the machine's compiler if it has one: what its symbols and DWARF look like.

use std::process::{Command, Stdio};
use std::sync::Arc;

use symbols::{Image, Memory, MemoryError, ObjectFile, Placement, Program};

const SOURCE: &str = "
enum kind { ONE, TWO = 2, MINUS = -1 };
struct item { struct item *next; int number : 5; unsigned wide : 20; union { long l; char text[8]; }; enum kind kind; };
struct item last = { 0, -3, 70000, { .text = \"hello\" }, TWO };
struct item first = { &last, 5, 6, { 7 }, ONE };
struct item *head = &first;
int table[4] = { 1, 2, 3, 4 };
double real = 1.5;
static inline __attribute__((always_inline)) int inner(int a) { int b = a * 2; table[b & 3] = a; return b + table[a & 3]; }
int outer(struct item *item, int count) { int sum = 0; while (item) { sum += inner(item->number + count); item = item->next; } return sum; }
int (*pointer)(struct item *, int) = outer;
int main(void) { return outer(head, 3); }
";

/// The program compiled with each of some sets of arguments; none without a compiler.
pub fn compiled(variants: &[&[&str]]) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("program.c");
    std::fs::write(&source, SOURCE).expect("the source is written");
    let compile = |arguments: &&[&str]| {
        let result = folder.path().join("program");
        let mut command = Command::new("cc");
        command.current_dir(folder.path()).arg("-O1").args(*arguments).arg(&source).arg("-o").arg(&result);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        status.success().then(|| std::fs::read(&result).expect("what was compiled"))
    };
    variants.iter().filter_map(compile).collect()
}

/// Memory as the files of images have it.
pub struct FileMemory(pub Arc<Image>);

impl Memory for FileMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        let bytes = self.0.read(address, buf.len());
        let bytes = bytes.ok_or_else(|| MemoryError { address, reason: "not in the file".to_owned() })?;
        buf.copy_from_slice(&bytes);
        Ok(())
    }
}

/// A program of an image, where there is one.
pub fn of_file(file: ObjectFile) -> Option<Program> {
    let placement = match file.is_relocatable() {
        true => {
            let sections = file.sections().into_iter().take(1000).enumerate();
            Placement::Sections(sections.map(|(n, section)| (section.name, 0x10_0000 + n as u64 * 0x1_0000)).collect())
        }
        false => Placement::AsLinked,
    };
    let image = Arc::new(Image::new("image", file, None, placement).ok()?);
    Program::new(vec![image.clone()], Arc::new(FileMemory(image))).ok()
}
