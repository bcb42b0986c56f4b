//! ELF files of all kinds: sections, symbols both ways, notes, links, whatever is in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbols::ObjectFile;
use tine_fuzz::program::{compiled, of_file};

fuzz_target!(init: {
    tine_fuzz::write_seeds(|| compiled(&[&["-c"], &["-s"], &["-g", "-gz=zlib", "-Wl,--build-id=sha1"], &["-m32", "-c"]]));
}, |data: &[u8]| {
    let Ok(file) = ObjectFile::from_bytes("file", data.to_vec()) else { return };
    for section in file.sections().iter().take(100) {
        let _ = file.section_bytes(&section.name);
    }
    let _ = (file.build_id(), file.debug_link(), file.has_debug_info(), file.check_debug_of(&file));
    let Some(program) = of_file(file) else { return };
    let image = &program.images()[0];
    let Ok(symbols) = image.symbols() else { return };
    for symbol in symbols.take(200) {
        // Names that are no text are shown with replacements, by which they are not found.
        if symbol.name.contains(char::REPLACEMENT_CHARACTER) {
            continue;
        }
        let found = image.symbol(&symbol.name).expect("the table was read").expect("the symbol has this name");
        assert_eq!(found.name, symbol.name);
        if let Some(at) = program.symbol_at(symbol.address) {
            assert!(at.0.address <= symbol.address);
        }
    }
});
