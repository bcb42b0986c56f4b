//! `tine crash print`, `ptype`, `sym`, `list`: values, types and symbols.

use clap::Args;
use serde_json::json;
use symbols::{Format, Names, Program, Radix, Value};

use super::Session;
use crate::failure::Failure;
use crate::output;

/// Print the value of an expression of C: `*msgbufp`, `((struct proc *)0xfffff80003000000)->p_comm`
///
/// Variables of the kernel and its modules by name, fields, pointers, arrays, casts, `sizeof`, arithmetic. `curthread` and
/// other variables of processors are those of the one that panicked, or of --cpu; `V_ifnet` and the like those of the
/// host's network stack. `$tid`, `$td` and `$proc` are those of the thread that panicked, `$pcpu` is its processor's
/// structure; registers of its innermost frame are `$rip`, `$rsp` ...
#[derive(Debug, Args)]
pub(super) struct Print {
    /// How numbers are written: x hexadecimal, d decimal, u unsigned, o octal, t binary, c character, a address
    #[arg(short, long, value_name = "FORMAT", value_parser = radix)]
    format: Option<Radix>,
    /// The processor whose variables are meant [default: the one that panicked]
    #[arg(long, value_name = "N")]
    cpu: Option<u64>,
    /// The expression; a first word such as `/x` is a format
    #[arg(value_name = "EXPR", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    expression: Vec<String>,
}

/// Print the definition of a type, or of an expression's type
#[derive(Debug, Args)]
pub(super) struct TypeOf {
    /// `struct thread`, `vm_page_t`, or an expression
    #[arg(value_name = "TYPE|EXPR", required = true, num_args = 1..)]
    of: Vec<String>,
}

/// Find symbols by name or by address
#[derive(Debug, Args)]
pub(super) struct Symbols {
    /// Names, or addresses such as 0xffffffff80b3a6c0
    #[arg(value_name = "NAME|ADDRESS", required = true)]
    what: Vec<String>,
}

/// Print the elements of a list or tree of the kernel (SLIST, LIST, STAILQ, TAILQ, RB)
#[derive(Debug, Args)]
pub(super) struct List {
    /// The head: an expression such as `allproc`
    head: String,
    /// The field of an element that has its links, such as `p_list`
    field: String,
    /// What to print of each element: fields such as `p_pid` [default: its address]
    #[arg(value_name = "PATH")]
    show: Vec<String>,
    /// How many elements to print
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10_000)]
    most: usize,
}

impl Print {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let words = self.expression.join(" ");
        let mut expression = words.trim_start();
        let mut format = self.format;
        if let Some(rest) = expression.strip_prefix('/') {
            let (letter, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            format = Some(radix(letter).map_err(Failure::Usage)?);
            expression = rest;
        }
        let names = crash::KernelNames::new(session.crash, self.cpu);
        let value = session.crash.program().evaluate(expression, &names)?;
        let format = Format { radix: format.unwrap_or(Radix::Natural), lines: true, ..Format::default() };
        let text = value.show(&format)?;
        if session.json {
            let address = value.address().map(|address| format!("{address:#x}"));
            return output::print_json(&json!({ "type": value.ty().name(), "value": text, "address": address }));
        }
        output::print(&format!("{text}\n"))
    }
}

impl TypeOf {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let ty = session.crash.program().type_of_expression(&self.of.join(" "), &KernelNames(session))?;
        let definition = ty.definition()?;
        if session.json {
            let size = ty.size().ok();
            return output::print_json(&json!({ "type": ty.name(), "size": size, "definition": definition }));
        }
        output::print(&format!("{definition}\n"))
    }
}

impl Symbols {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let program = session.crash.program();
        let mut found = Vec::new();
        for what in &self.what {
            let symbol = match address(what) {
                Some(address) => {
                    let none = || Failure::Work(format!("no symbol is at {address:#x}"));
                    let (symbol, image) = program.symbol_at(address).ok_or_else(none)?;
                    (symbol, image.name().to_owned(), address)
                }
                None => {
                    let symbol = program.symbol(what)?;
                    let image = program.image_at(symbol.address).map(|image| image.name().to_owned());
                    (symbol.clone(), image.unwrap_or_default(), symbol.address)
                }
            };
            found.push(symbol);
        }
        if session.json {
            let all: Vec<_> = found
                .iter()
                .map(|(symbol, image, at)| {
                    let line = program.line(*at);
                    json!({
                        "name": symbol.name,
                        "address": format!("{:#x}", symbol.address),
                        "size": symbol.size,
                        "offset": at.wrapping_sub(symbol.address),
                        "module": image,
                        "file": line.as_ref().map(|line| &line.file),
                        "line": line.as_ref().map(|line| line.line),
                    })
                })
                .collect();
            return output::print_json(&all);
        }
        let mut text = String::new();
        for (symbol, image, at) in found {
            let offset = match at.wrapping_sub(symbol.address) {
                0 => String::new(),
                offset => format!("+{offset:#x}"),
            };
            let line = program.line(at).map(|line| format!("  {}:{}", super::stack::short(&line.file), line.line));
            let line = line.unwrap_or_default();
            text += &format!("{at:#018x}  {}{offset}  {} bytes in {image}{line}\n", symbol.name, symbol.size);
        }
        output::print(&text)
    }
}

impl List {
    pub(super) fn run(&self, session: &Session<'_>) -> Result<(), Failure> {
        let head = session.crash.program().evaluate(&self.head, &KernelNames(session))?;
        let found = crash::queue::elements(&head, &self.field)?;
        let mut rows = Vec::new();
        for element in found.elements.iter().take(self.most) {
            let show = |path: &String| {
                let value = element.path(path).and_then(|value| value.show(&Format::default()));
                value.unwrap_or_else(|error| format!("<{error}>"))
            };
            let values: Vec<(String, String)> = self.show.iter().map(|path| (path.clone(), show(path))).collect();
            rows.push((element.address().unwrap_or(0), values));
        }
        if session.json {
            let all: Vec<_> = rows
                .iter()
                .map(|(address, values)| {
                    let values: serde_json::Map<String, _> =
                        values.iter().map(|(path, value)| (path.clone(), json!(value))).collect();
                    json!({ "address": format!("{address:#x}"), "values": values })
                })
                .collect();
            output::print_json(&json!({ "elements": all, "broken": found.broken }))?;
        } else {
            let mut text = String::new();
            for (address, values) in rows {
                let values: Vec<String> = values.into_iter().map(|(path, value)| format!("{path} = {value}")).collect();
                text += format!("{address:#x}  {}", values.join("  ")).trim_end();
                text.push('\n');
            }
            output::print(&text)?;
        }
        if let Some(why) = found.broken {
            output::warn("tine", &[format!("the list ends too early: {why}")]);
            return Err(Failure::Found);
        }
        Ok(())
    }
}

/// A number in hexadecimal digits after `0x`, or decimal ones.
pub(super) fn address(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

pub(super) fn radix(letter: &str) -> Result<Radix, String> {
    Ok(match letter {
        "x" => Radix::Hexadecimal,
        "d" => Radix::Decimal,
        "u" => Radix::Unsigned,
        "o" => Radix::Octal,
        "t" => Radix::Binary,
        "c" => Radix::Character,
        "a" => Radix::Address,
        // Strings are shown as such in any case.
        "s" => Radix::Natural,
        _ => return Err("x, d, u, o, t, c, a or s was expected".to_owned()),
    })
}

/// Names that expressions have beside the kernel's own.
pub(super) struct KernelNames<'s>(pub(super) &'s Session<'s>);

impl Names for KernelNames<'_> {
    fn variable(&self, program: &Program, name: &str) -> symbols::Result<Option<Value>> {
        crash::KernelNames::new(self.0.crash, None).variable(program, name)
    }

    fn dollar(&self, program: &Program, name: &str) -> symbols::Result<Option<Value>> {
        crash::KernelNames::new(self.0.crash, None).dollar(program, name)
    }
}
