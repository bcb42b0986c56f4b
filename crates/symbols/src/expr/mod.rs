//! Expressions of C over a program's variables and types: what a debugger's `print` takes.
//!
//! ```text
//! *msgbufp                       td->td_proc->p_comm            (struct thread *)0xfffff80003a1c000
//! &thread0.td_proc               sizeof(struct vnode)           names[2].first & 0xff
//! *array@4                       'kern_malloc.c'::kmemcount     offsetof(struct proc, p_pid)
//! ```
//!
//! Nothing can be changed and no function called: assignments and calls are errors that say so.

mod eval;
mod lex;
mod parse;
mod type_name;

use crate::error::{Error, Result};
use crate::program::Program;
use crate::types::Type;
use crate::value::Value;

/// Characters of one expression.
const MAX_LENGTH: usize = 16 << 10;

/// Names that an expression may use besides those of the program. `()` has none.
pub trait Names {
    /// A variable that goes before the program's own: of a frame, of a CPU. `None` leaves the name to the program.
    ///
    /// # Errors
    ///
    /// The variable is there, and has no value.
    fn variable(&self, program: &Program, name: &str) -> Result<Option<Value>> {
        let _ = (program, name);
        Ok(None)
    }

    /// What `$name` stands for: a register, an earlier result.
    ///
    /// # Errors
    ///
    /// The name is known, and has no value.
    fn dollar(&self, program: &Program, name: &str) -> Result<Option<Value>> {
        let _ = (program, name);
        Ok(None)
    }

    /// What `name(arguments)` stands for: a macro of the kernel that the user of this crate knows.
    ///
    /// # Errors
    ///
    /// The arguments do not fit.
    fn call(&self, program: &Program, name: &str, arguments: &[Value]) -> Result<Option<Value>> {
        let _ = (program, name, arguments);
        Ok(None)
    }
}

impl Names for () {}

impl Program {
    /// The value of an expression.
    ///
    /// # Errors
    ///
    /// It is not C, a name is not there, an operation does not fit a type, or memory that it needs cannot be read.
    pub fn evaluate(&self, expression: &str, names: &dyn Names) -> Result<Value> {
        check_length(expression)?;
        let tree = parse::Parser::new(self, expression, names)?.expression()?;
        eval::Evaluation { program: self, names }.value(&tree)
    }

    /// The type that a type name, or else an expression, has: what `ptype` and `whatis` take.
    ///
    /// # Errors
    ///
    /// As [`Program::evaluate`].
    pub fn type_of_expression(&self, text: &str, names: &dyn Names) -> Result<Type> {
        check_length(text)?;
        let mut parser = parse::Parser::new(self, text, names)?;
        match parser.whole_type()? {
            Some(ty) => Ok(ty),
            None => {
                let tree = parse::Parser::new(self, text, names)?.expression()?;
                let value = eval::Evaluation { program: self, names }.value(&tree)?;
                Ok(value.ty().clone())
            }
        }
    }
}

/// The type that a C type name stands for.
pub(crate) fn parse_type(program: &Program, text: &str) -> Result<Type> {
    check_length(text)?;
    let mut parser = parse::Parser::new(program, text, &())?;
    parser.whole_type()?.ok_or_else(|| program.not_found("type", text))
}

fn check_length(text: &str) -> Result<()> {
    match text.len() > MAX_LENGTH {
        true => Err(Error::Limit { what: "the length of the expression".to_owned(), limit: MAX_LENGTH as u64 }),
        false => Ok(()),
    }
}
