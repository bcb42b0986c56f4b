//! Debug information of all kinds: types, values, lines, inlined functions and stacks, whatever it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use symbols::{Format, Frame, ObjectFile, Registers};
use tine_fuzz::program::{compiled, of_file};

fuzz_target!(init: {
    tine_fuzz::write_seeds(|| {
        compiled(&[
            &["-c", "-gdwarf-2"],
            &["-c", "-gdwarf-3"],
            &["-c", "-gdwarf-4", "-fdebug-types-section"],
            &["-c", "-gdwarf-5"],
            &["-gdwarf-5", "-O2"],
            &["-gdwarf-4", "-gz=zlib"],
            &["-c", "-gdwarf-5", "-gsplit-dwarf"],
        ])
    });
}, |data: &[u8]| {
    let Ok(file) = ObjectFile::from_bytes("file", data.to_vec()) else { return };
    let Some(program) = of_file(file) else { return };
    let format = Format { elements: 20, depth: 4, ..Format::default() };
    for name in program.names("", true).iter().take(60) {
        if let Ok(ty) = program.type_of_expression(name, &()) {
            let _ = (ty.definition(), ty.size(), ty.name());
        }
        if let Ok(value) = program.evaluate(name, &()) {
            let _ = (value.show(&format), value.integer(), value.string(100));
            let _ = value.deref().and_then(|value| value.show(&format));
        }
    }
    let sections = program.images()[0].file().sections();
    let addresses = program.images()[0].symbols().map(|symbols| symbols.map(|symbol| symbol.address).take(20).collect());
    let mut addresses: Vec<u64> = addresses.unwrap_or_default();
    addresses.extend(sections.iter().take(10).map(|section| section.address));
    for address in addresses.iter().flat_map(|&address| (0..24).map(move |offset| address.wrapping_add(offset * 3))) {
        let _ = program.line_range(address);
        let calls = program.calls(address);
        let mut registers = Registers::new(program.architecture());
        for number in 0..33 {
            registers.set(number, address);
        }
        let frames: Vec<Frame> = program.unwind(&registers, &()).take(16).collect();
        for call in &calls {
            for variable in program.variables(&frames, 0, call).unwrap_or_default().iter().take(20) {
                let _ = variable.value.as_ref().map(|value| value.show(&format));
            }
        }
    }
});
