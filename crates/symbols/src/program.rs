//! A program: images at their places, and a memory.

use std::sync::Arc;

use crate::architecture::Architecture;
use crate::dwarf::location::{Caller, Context, Found};
use crate::dwarf::{Die, Kind};
use crate::error::{Error, Result};
use crate::image::Image;
use crate::memory::{Memory, MemoryError};
use crate::symbol::Symbol;
use crate::types::Type;
use crate::unwind::Frame;
use crate::value::Value;

pub use crate::dwarf::line::SourceLine;

/// Names in one message at most.
const MAX_NAMED: usize = 3;
/// Calling frames that the value of one variable may depend on.
const MAX_CALLERS: u32 = 4;

/// Images, the first of which is asked first, and the memory that their variables are in. Cheap to clone.
#[derive(Clone)]
pub struct Program {
    inner: Arc<Inner>,
}

struct Inner {
    images: Vec<Arc<Image>>,
    memory: Arc<dyn Memory>,
}

/// A function of the source at an address: several are when code was inlined.
#[derive(Debug, Clone)]
pub struct Call {
    /// Name of the function; of the symbol, where there is no debug information.
    pub function: String,
    /// Name of the image.
    pub image: String,
    /// The line: for the innermost function that of the address, for others that of the inlined call.
    pub line: Option<SourceLine>,
    /// Whether the function has no frame of its own here: the next one outwards has.
    pub inlined: bool,
    /// Bytes from the beginning of the symbol that the address is in.
    pub offset: Option<u64>,
    scope: Option<(usize, Die)>,
}

/// A parameter or variable in a frame.
#[derive(Debug, Clone)]
pub struct Variable {
    /// The name.
    pub name: String,
    /// Whether it is a parameter of the function.
    pub parameter: bool,
    /// The line that declares it; 0 if it is not known.
    pub line: u32,
    /// Its type.
    pub ty: Type,
    /// Its value, or why it has none here.
    pub value: Result<Value>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Program").field(&self.image_names()).finish()
    }
}

impl Program {
    /// A program of these images. Names are looked up in the order given: the kernel first, then modules.
    ///
    /// # Errors
    ///
    /// No image, or images of different machines.
    pub fn new(images: Vec<Arc<Image>>, memory: Arc<dyn Memory>) -> Result<Self> {
        let first = images.first().ok_or_else(|| Error::ty("a program needs at least one image"))?;
        let kind = (first.architecture(), first.is_big_endian());
        if let Some(other) = images.iter().find(|image| (image.architecture(), image.is_big_endian()) != kind) {
            let (ours, theirs) = (kind.0.name(), other.architecture().name());
            return Err(Error::ty(format!("{} is for {theirs}, {} for {ours}", other.name(), first.name())));
        }
        Ok(Self { inner: Arc::new(Inner { images, memory }) })
    }

    /// The images.
    pub fn images(&self) -> &[Arc<Image>] {
        &self.inner.images
    }

    /// The first image: it gives types to what belongs to no image.
    pub(crate) fn first(&self) -> Result<&Arc<Image>> {
        self.inner.images.first().ok_or_else(|| Error::ty("a program without images"))
    }

    /// The machine.
    pub fn architecture(&self) -> Architecture {
        self.inner.images.first().map_or(Architecture::Amd64, |image| image.architecture())
    }

    /// Whether numbers in memory begin with their most significant byte.
    pub fn is_big_endian(&self) -> bool {
        self.inner.images.first().is_some_and(|image| image.is_big_endian())
    }

    /// The memory.
    pub fn memory(&self) -> &dyn Memory {
        &*self.inner.memory
    }

    /// Fills `buf` from an address on.
    ///
    /// # Errors
    ///
    /// The first address that cannot be read.
    pub fn read(&self, address: u64, buf: &mut [u8]) -> std::result::Result<(), MemoryError> {
        self.inner.memory.read(address, buf)
    }

    /// A number of 1 to 8 bytes in memory.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read_unsigned(&self, address: u64, size: u8) -> Result<u64> {
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..usize::from(size)).ok_or_else(|| Error::ty("a number of more than 8 bytes"))?;
        self.read(address, part)?;
        Ok(match self.is_big_endian() {
            true => part.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
            false => part.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        })
    }

    /// A pointer in memory.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read_word(&self, address: u64) -> Result<u64> {
        self.read_unsigned(address, self.architecture().word())
    }

    /// The bytes before the first NUL, at most `limit` of them. Where memory ends before the NUL, what was readable is
    /// returned, if anything was.
    ///
    /// # Errors
    ///
    /// Nothing can be read at the address.
    pub fn read_string(&self, address: u64, limit: usize) -> Result<Vec<u8>> {
        /// Dividing a page: no part crosses into one that is not there. Short, as a redacted pack has what was read.
        const PART: u64 = 16;
        let mut bytes = Vec::new();
        while bytes.len() < limit {
            let at = address.wrapping_add(bytes.len() as u64);
            let length = (PART - at % PART).min((limit - bytes.len()) as u64);
            let mut part = vec![0; usize::try_from(length).unwrap_or(0)];
            if let Err(error) = self.read(at, &mut part) {
                // Memory ends within the part: byte by byte, then.
                let mut readable = 0;
                for (byte, at) in part.iter_mut().zip(at..) {
                    if self.read(at, std::slice::from_mut(byte)).is_err() {
                        break;
                    }
                    readable += 1;
                }
                part.truncate(readable);
                bytes.extend(part.iter().take_while(|&&byte| byte != 0));
                return if readable == 0 && bytes.is_empty() { Err(error.into()) } else { Ok(bytes) };
            }
            match part.iter().position(|&byte| byte == 0) {
                Some(end) => {
                    part.truncate(end);
                    bytes.extend(part);
                    return Ok(bytes);
                }
                None => bytes.extend(part),
            }
        }
        Ok(bytes)
    }

    /// The image at an address.
    pub fn image_at(&self, address: u64) -> Option<&Arc<Image>> {
        self.inner.images.iter().find(|image| image.contains(address))
    }

    fn image_names(&self) -> String {
        let mut names: Vec<&str> = self.inner.images.iter().map(|image| image.name()).collect();
        let more = names.len().saturating_sub(MAX_NAMED);
        names.truncate(MAX_NAMED);
        match more {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }

    pub(crate) fn not_found(&self, kind: &'static str, name: &str) -> Error {
        Error::NotFound { kind, name: name.to_owned(), images: self.image_names() }
    }

    /// The symbol of this name.
    ///
    /// # Errors
    ///
    /// No image has it.
    pub fn symbol(&self, name: &str) -> Result<Symbol> {
        let found = self.inner.images.iter().find_map(|image| image.symbol(name).ok().flatten());
        found.ok_or_else(|| self.not_found("symbol", name))
    }

    /// The symbol at an address, and its image.
    pub fn symbol_at(&self, address: u64) -> Option<(Symbol, &Arc<Image>)> {
        let image = self.image_at(address)?;
        Some((image.symbol_at(address).ok().flatten()?, image))
    }

    /// An address for people: `panic+0x43`.
    pub fn describe(&self, address: u64) -> Option<String> {
        let (symbol, _) = self.symbol_at(address)?;
        Some(match address - symbol.address {
            0 => symbol.name,
            offset => format!("{}+{offset:#x}", symbol.name),
        })
    }

    /// The images with debug information.
    ///
    /// # Errors
    ///
    /// None has any, or that of the first which has some is damaged.
    fn informed(&self) -> Result<Vec<(usize, &Arc<Image>)>> {
        let mut fault = None;
        let mut found = Vec::new();
        for (index, image) in self.inner.images.iter().enumerate() {
            // Images are opened one by one as they are asked: only whether there is something to open is looked at here.
            if image.has_debug_info() {
                found.push((index, image));
            } else {
                fault = fault.or(Some(Error::NoDebugInfo { image: image.name().to_owned() }));
            }
        }
        match (found.is_empty(), fault) {
            (true, Some(fault)) => Err(fault),
            _ => Ok(found),
        }
    }

    /// The type of a kind and name, of the first image that defines it.
    pub(crate) fn named_type(&self, kind: Kind, name: &str) -> Result<Option<Type>> {
        let mut fault = None;
        for (_, image) in self.informed()? {
            match Type::named(image, kind, name) {
                Ok(Some(ty)) => return Ok(Some(ty)),
                Ok(None) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        fault.map_or(Ok(None), Err)
    }

    /// The type that a C type name stands for: `"struct thread"`, `"vm_offset_t"`, `"struct proc *"`.
    ///
    /// # Errors
    ///
    /// It is not a type name, or no image has the type.
    pub fn ty(&self, name: &str) -> Result<Type> {
        crate::expr::parse_type(self, name)
    }

    /// The structure, union, enumeration or typedef as a source file has it, where several have one of the same name:
    /// `ty_of("link_elf_obj.c", "struct elf_file")`. `file` is the end of its path.
    ///
    /// # Errors
    ///
    /// No such type of that file.
    pub fn ty_of(&self, file: &str, name: &str) -> Result<Type> {
        let (kind, tag) = match name.split_once(' ') {
            Some(("struct", tag)) => (Kind::Struct, tag),
            Some(("union", tag)) => (Kind::Union, tag),
            Some(("enum", tag)) => (Kind::Enum, tag),
            _ => (Kind::Typedef, name),
        };
        for (_, image) in self.informed()? {
            if let Some(die) = image.info()?.type_in(file, kind, tag.trim())? {
                return Type::from_die(image, die);
            }
        }
        Err(self.not_found("type", &format!("{name} of {file}")))
    }

    /// The same type, with its members, if another image than its own defines it.
    pub(crate) fn complete(&self, ty: &Type) -> Result<Type> {
        let resolved = ty.resolved()?;
        if !resolved.is_incomplete() {
            return Ok(resolved);
        }
        let full = resolved.name();
        let found = match full.split_once(' ') {
            Some(("struct", name)) => self.named_type(Kind::Struct, name)?,
            Some(("union", name)) => self.named_type(Kind::Union, name)?,
            Some(("enum", name)) => self.named_type(Kind::Enum, name)?,
            _ => None,
        };
        Ok(found.unwrap_or(resolved))
    }

    /// The global variable of this name, also a static one of any file.
    ///
    /// # Errors
    ///
    /// No image has it, or it has no place in memory.
    pub fn variable(&self, name: &str) -> Result<Value> {
        self.find_variable(name)?.ok_or_else(|| self.not_found("variable", name))
    }

    pub(crate) fn find_variable(&self, name: &str) -> Result<Option<Value>> {
        let mut fault = None;
        for (_, image) in self.informed()? {
            let info = match image.info() {
                Ok(info) => info,
                Err(error) => {
                    fault = fault.or(Some(error));
                    continue;
                }
            };
            let entries = info.names().find(name);
            let values =
                entries.iter().filter(|entry| entry.kind == Kind::Variable).map(|entry| self.global(image, entry.die));
            let mut values: Vec<Result<Value>> = values.collect();
            // Of several static variables, or of a static one and a global, the symbol table tells the first choice.
            let preferred = image.symbol(name)?.map(|symbol| symbol.address);
            let best = values.iter().position(|value| {
                value.as_ref().is_ok_and(|value| value.address().is_some() && value.address() == preferred)
            });
            let best = best.or_else(|| values.iter().position(Result::is_ok));
            if let Some(best) = best {
                return values.swap_remove(best).map(Some);
            }
            fault = fault.or_else(|| values.into_iter().find_map(Result::err));
        }
        fault.map_or(Ok(None), Err)
    }

    /// The static variable of a source file; `file` is the end of its path.
    ///
    /// # Errors
    ///
    /// No such variable.
    pub fn variable_of(&self, file: &str, name: &str) -> Result<Value> {
        for (_, image) in self.informed()? {
            let info = image.info()?;
            for entry in info.names().find(name).iter().filter(|entry| entry.kind == Kind::Variable) {
                let unit = info.unit_name(entry.die.unit);
                if unit.is_some_and(|unit| std::path::Path::new(unit).ends_with(file)) {
                    return self.global(image, entry.die);
                }
            }
        }
        Err(self.not_found("variable", &format!("{name} of {file}")))
    }

    fn global(&self, image: &Arc<Image>, die: Die) -> Result<Value> {
        let info = image.info()?;
        let (name, target) = info.declared(die)?;
        let ty = Type::from_ref(image, &target)?;
        let context = Context {
            memory: self.memory(),
            registers: None,
            cfa: None,
            address: 0,
            slide: image.loaded(0),
            caller: None,
        };
        // The size of an `extern` array may be unknown; its address is not.
        let size = ty.size().unwrap_or(0);
        match info.locate(die, &name, size, &context)? {
            Found::Memory(address) => Ok(Value::at(self, ty, address)),
            Found::Bytes(bytes) => Ok(Value::of_bytes(self, ty, bytes)),
        }
    }

    /// The function of this name, as a value of function type.
    pub(crate) fn function(&self, name: &str) -> Result<Option<Value>> {
        for (_, image) in self.informed()? {
            let info = image.info()?;
            let entries = info.names().find(name);
            if let Some(entry) = entries.iter().find(|entry| entry.kind == Kind::Function) {
                let ty = Type::from_die(image, entry.die)?;
                if let Some(address) = info.entry_address(entry.die)? {
                    return Ok(Some(Value::at(self, ty, image.loaded(address))));
                }
            }
        }
        Ok(None)
    }

    /// The enumeration that has a constant of this name, and the constant.
    pub(crate) fn enumerator(&self, name: &str) -> Result<Option<(Type, i128)>> {
        for (_, image) in self.informed()? {
            let info = image.info()?;
            for entry in info.names().find(name).iter().filter(|entry| entry.kind == Kind::Enumerator) {
                let ty = Type::from_die(image, entry.die)?;
                if let Some((_, value)) = ty.enumerators().into_iter().find(|(known, _)| known == name) {
                    return Ok(Some((ty, value)));
                }
            }
        }
        Ok(None)
    }

    /// Names of all images that begin with `prefix`, sorted: variables, functions and, with `types`, types.
    pub fn names(&self, prefix: &str, types: bool) -> Vec<String> {
        let mut names = Vec::new();
        for image in &self.inner.images {
            if let Ok(symbols) = image.symbols() {
                names.extend(symbols.map(|symbol| symbol.name).filter(|name| name.starts_with(prefix)));
            }
            if let (true, Ok(info)) = (types, image.info()) {
                let found = info.names().iter().filter(|(name, _)| name.starts_with(prefix));
                names.extend(found.map(|(name, entry)| match entry.kind {
                    Kind::Struct => format!("struct {name}"),
                    Kind::Union => format!("union {name}"),
                    Kind::Enum => format!("enum {name}"),
                    _ => name,
                }));
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The source line of an address.
    pub fn line(&self, address: u64) -> Option<SourceLine> {
        self.line_range(address).map(|(line, _, _)| line)
    }

    /// The source line of an address, and the range of addresses (start, end) that share it.
    pub fn line_range(&self, address: u64) -> Option<(SourceLine, u64, u64)> {
        let image = self.image_at(address)?;
        let info = image.info().ok()?;
        let (line, start, end) = info.line_at(image.linked(address)).ok()??;
        Some((line, image.loaded(start), image.loaded(end)))
    }

    /// The functions at an address, the innermost inlined one first. For a return address, ask for the byte before it.
    /// Empty where neither debug information nor a symbol covers the address.
    pub fn calls(&self, address: u64) -> Vec<Call> {
        let Some((number, image)) = self.inner.images.iter().enumerate().find(|(_, image)| image.contains(address))
        else {
            return Vec::new();
        };
        let symbol = image.symbol_at(address).ok().flatten();
        let offset = symbol.as_ref().map(|symbol| address - symbol.address);
        let linked = image.linked(address);
        let scopes = image.info().and_then(|info| info.scopes(linked)).unwrap_or_default();
        let mut line = self.line(address);
        let mut calls = Vec::new();
        for scope in scopes {
            calls.push(Call {
                function: scope.name,
                image: image.name().to_owned(),
                line: std::mem::replace(&mut line, scope.call),
                inlined: scope.inlined,
                offset,
                scope: Some((number, scope.die)),
            });
        }
        if let (true, Some(symbol)) = (calls.is_empty(), symbol) {
            let (function, image) = (symbol.name, image.name().to_owned());
            calls.push(Call { function, image, line, inlined: false, offset, scope: None });
        }
        calls
    }

    /// The parameters and variables of a function of a frame: `call` is one of [`Program::calls`] for the frame's
    /// [`Frame::code_address`]. Frames behind it tell what it was called with.
    ///
    /// # Errors
    ///
    /// The debug information is damaged. A function without debug information has no variables.
    pub fn variables(&self, frames: &[Frame], index: usize, call: &Call) -> Result<Vec<Variable>> {
        let Some((number, die)) = call.scope else { return Ok(Vec::new()) };
        let Some(image) = self.inner.images.get(number) else { return Ok(Vec::new()) };
        let Some(frame) = frames.get(index) else { return Ok(Vec::new()) };
        let info = image.info()?;
        let found = info.variables(die, image.linked(frame.code_address()))?;
        let mut variables = Vec::new();
        for variable in found {
            let ty = Type::from_ref(image, &variable.ty)?;
            let mut value = None;
            self.with_context(frames, index, image, 0, &mut |context| {
                value = Some(ty.size().and_then(|size| info.locate(variable.die, &variable.name, size, context)));
            });
            let unknown = || Error::unavailable(&variable.name, "has no frame");
            let value = value.ok_or_else(unknown).and_then(|found| found).map(|found| match found {
                Found::Memory(address) => Value::at(self, ty.clone(), address),
                Found::Bytes(bytes) => Value::of_bytes(self, ty.clone(), bytes),
            });
            let (name, parameter, line) = (variable.name, variable.parameter, variable.line);
            variables.push(Variable { name, parameter, line, ty, value });
        }
        Ok(variables)
    }

    /// Calls `use_it` with what expressions of a frame can ask for, its callers included.
    fn with_context(
        &self,
        frames: &[Frame],
        index: usize,
        image: &Image,
        depth: u32,
        use_it: &mut dyn FnMut(&Context<'_>),
    ) {
        let Some(frame) = frames.get(index) else { return };
        let context = Context {
            memory: self.memory(),
            registers: Some(&frame.registers),
            cfa: frame.cfa,
            address: image.linked(frame.code_address()),
            slide: image.loaded(0),
            caller: None,
        };
        let caller = frames.get(index + 1).filter(|_| depth < MAX_CALLERS);
        let caller = caller.and_then(|caller| Some((caller, self.image_at(caller.code_address())?)));
        let Some((caller, caller_image)) = caller else { return use_it(&context) };
        let Ok(info) = caller_image.info() else { return use_it(&context) };
        let return_address = caller_image.linked(caller.pc());
        self.with_context(frames, index + 1, caller_image, depth + 1, &mut |outer| {
            let caller = Caller { info, context: *outer, return_address };
            use_it(&Context { caller: Some(&caller), ..context });
        });
    }

    /// A value in memory.
    pub fn value(&self, ty: &Type, address: u64) -> Value {
        Value::at(self, ty.clone(), address)
    }
}
