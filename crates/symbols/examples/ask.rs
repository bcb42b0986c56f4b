//! Asks a program's files: `ask FILE (ptype TYPE | whatis EXPR | print EXPR | line ADDRESS | symbol NAME | time)...`.
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use symbols::{Image, Memory, MemoryError, ObjectFile, Placement, Program};

struct FileMemory(Vec<Arc<Image>>);

impl Memory for FileMemory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        let bytes = self.0.iter().find_map(|image| image.read(address, buf.len()));
        let bytes = bytes.ok_or_else(|| MemoryError { address, reason: "not in the file".to_owned() })?;
        buf.copy_from_slice(&bytes);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("no file")?;
    let start = Instant::now();
    let file = ObjectFile::open(Path::new(&path))?;
    let debug = file.find_debug(&[]);
    let image = Arc::new(Image::new("image", file, debug, Placement::AsLinked)?);
    let program = Program::new(vec![image.clone()], Arc::new(FileMemory(vec![image.clone()])))?;
    while let Some(what) = arguments.next() {
        let mut next = || arguments.next().unwrap_or_default();
        let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_default();
        let answer = match what.as_str() {
            "ptype" => program.type_of_expression(&next(), &()).and_then(|ty| ty.definition()),
            "fields" => program.ty(&next()).and_then(|ty| {
                let mut text = format!("{} {}\n", ty.name(), ty.size()?);
                for field in ty.fields()? {
                    let (start, size) = field.bits.map_or((field.offset * 8, 0), |bits| (bits.start, bits.size));
                    text += &format!(
                        "  {} {start} {size} {} {}\n",
                        field.name,
                        field.ty.size().unwrap_or(0),
                        field.ty.name()
                    );
                }
                Ok(text)
            }),
            "whatis" => program.type_of_expression(&next(), &()).map(|ty| ty.name()),
            "print" => program.evaluate(&next(), &()).and_then(|value| value.show(&symbols::Format::default())),
            "line" => Ok(format!("{:?}", program.line_range(number(&next())))),
            "calls" => Ok(format!("{:#?}", program.calls(number(&next())))),
            "symbol" => program.symbol(&next()).map(|symbol| format!("{symbol:?}")),
            _ => Ok(String::new()),
        };
        match answer {
            Ok(text) => println!("{text}"),
            Err(error) => println!("error: {error}"),
        }
        eprintln!("{:.3} s after {what}", start.elapsed().as_secs_f64());
    }
    Ok(())
}
