//! From words to a tree.

use super::Names;
use super::lex::{Kind, Token, tokens};
use crate::error::{Error, Result};
use crate::program::Program;
use crate::types::Type;

/// Parentheses, casts and signs within one another.
const MAX_DEPTH: u32 = 100;

/// An expression.
#[derive(Debug, Clone)]
pub(super) enum Tree {
    Integer {
        value: u128,
        unsigned: bool,
        long: bool,
        decimal: bool,
    },
    Float(f64),
    Character(u8),
    Text(Vec<u8>),
    Name(String),
    Dollar(String),
    OfFile(String, String),
    Unary(&'static str, Box<Tree>),
    Binary(&'static str, Box<Tree>, Box<Tree>),
    Choice(Box<Tree>, Box<Tree>, Box<Tree>),
    Cast(Type, Box<Tree>),
    /// `{type} address`.
    At(Type, Box<Tree>),
    SizeOf(Box<Tree>),
    SizeOfType(Type),
    OffsetOf(Type, String),
    /// `__containerof(pointer, type, member)`.
    Container(Box<Tree>, Type, String),
    Index(Box<Tree>, Box<Tree>),
    Field(Box<Tree>, String),
    Arrow(Box<Tree>, String),
    Call(String, Vec<Tree>),
}

/// Signs of two operands, from the loosest to the tightest.
const LEVELS: [&[&str]; 12] = [
    &[","],
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<", ">", "<=", ">="],
    &["<<", ">>"],
    // GDB's: so many elements from here on.
    &["@"],
    &["+", "-"],
    &["*", "/", "%"],
];

pub(super) struct Parser<'p> {
    pub(super) program: &'p Program,
    names: &'p dyn Names,
    tokens: Vec<Token>,
    pub(super) next: usize,
    depth: u32,
}

impl<'p> Parser<'p> {
    pub(super) fn new(program: &'p Program, text: &str, names: &'p dyn Names) -> Result<Self> {
        Ok(Self { program, names, tokens: tokens(text)?, next: 0, depth: 0 })
    }

    /// The whole text as an expression.
    pub(super) fn expression(&mut self) -> Result<Tree> {
        let tree = self.binary(0)?;
        self.end()?;
        Ok(tree)
    }

    /// The whole text as a type name; `None` if it does not begin like one.
    pub(super) fn whole_type(&mut self) -> Result<Option<Type>> {
        if !self.at_type()? {
            return Ok(None);
        }
        let ty = self.type_name()?;
        self.end()?;
        Ok(Some(ty))
    }

    pub(super) fn peek(&self) -> &Kind {
        self.tokens.get(self.next).map_or(&Kind::End, |token| &token.kind)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> &Kind {
        self.tokens.get(self.next + ahead).map_or(&Kind::End, |token| &token.kind)
    }

    pub(super) fn fault(&self, what: impl Into<String>) -> Error {
        let token = self.tokens.get(self.next).or(self.tokens.last());
        Error::Expression { column: token.map_or(1, |token| token.column), what: what.into() }
    }

    fn end(&self) -> Result<()> {
        match self.peek() {
            Kind::End => Ok(()),
            Kind::Sign("=" | "+=" | "-=" | "*=" | "/=" | "%=" | "&=" | "|=" | "^=" | "<<=" | ">>=" | "++" | "--") => {
                Err(self.fault("values cannot be changed"))
            }
            _ => Err(self.fault("an operator is missing")),
        }
    }

    pub(super) fn accept(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Kind::Sign(found) if *found == sign);
        self.next += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<()> {
        match self.accept(sign) {
            true => Ok(()),
            false => Err(self.fault(format!("{sign} is missing"))),
        }
    }

    pub(super) fn name(&mut self) -> Result<String> {
        let Kind::Name(name) = self.peek() else { return Err(self.fault("a name is missing")) };
        let name = name.clone();
        self.next += 1;
        Ok(name)
    }

    /// Whether a variable in scope hides the typedef of this name.
    pub(super) fn is_hidden(&self, name: &str) -> bool {
        !matches!(self.names.variable(self.program, name), Ok(None))
    }

    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::Limit { what: "the depth of the expression".to_owned(), limit: MAX_DEPTH.into() });
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn binary(&mut self, level: usize) -> Result<Tree> {
        let Some(signs) = LEVELS.get(level) else { return self.unary() };
        // The conditional stands between the comma and `||`.
        let mut left = if level == 0 { self.conditional()? } else { self.binary(level + 1)? };
        loop {
            let Kind::Sign(sign) = self.peek() else { return Ok(left) };
            let Some(&sign) = signs.iter().find(|known| *known == sign) else { return Ok(left) };
            self.next += 1;
            let right = if level == 0 { self.conditional()? } else { self.binary(level + 1)? };
            left = Tree::Binary(sign, Box::new(left), Box::new(right));
        }
    }

    fn conditional(&mut self) -> Result<Tree> {
        let condition = self.binary(1)?;
        if !self.accept("?") {
            return Ok(condition);
        }
        self.deeper(|parser| {
            let yes = parser.binary(0)?;
            parser.expect(":")?;
            let no = parser.conditional()?;
            Ok(Tree::Choice(Box::new(condition), Box::new(yes), Box::new(no)))
        })
    }

    fn unary(&mut self) -> Result<Tree> {
        self.deeper(|parser| {
            for sign in ["&", "*", "+", "-", "~", "!"] {
                if parser.accept(sign) {
                    return Ok(Tree::Unary(sign, Box::new(parser.unary()?)));
                }
            }
            if matches!(parser.peek(), Kind::Sign("&&" | "++" | "--")) {
                return Err(parser.fault("an operand is missing"));
            }
            if matches!(parser.peek(), Kind::Name(name) if name == "sizeof") {
                parser.next += 1;
                return parser.size_of();
            }
            if parser.accept("{") {
                let ty = parser.type_name()?;
                parser.expect("}")?;
                return Ok(Tree::At(ty, Box::new(parser.unary()?)));
            }
            if matches!(parser.peek(), Kind::Sign("(")) {
                parser.next += 1;
                if parser.at_type()? {
                    let ty = parser.type_name()?;
                    parser.expect(")")?;
                    return Ok(Tree::Cast(ty, Box::new(parser.unary()?)));
                }
                parser.next -= 1;
            }
            parser.postfix()
        })
    }

    fn size_of(&mut self) -> Result<Tree> {
        if matches!(self.peek(), Kind::Sign("(")) {
            self.next += 1;
            if self.at_type()? {
                let ty = self.type_name()?;
                self.expect(")")?;
                return Ok(Tree::SizeOfType(ty));
            }
            self.next -= 1;
        }
        Ok(Tree::SizeOf(Box::new(self.unary()?)))
    }

    fn postfix(&mut self) -> Result<Tree> {
        let mut tree = self.primary()?;
        loop {
            // A chain of fields is a deep tree as well.
            self.depth += 1;
            if self.depth > MAX_DEPTH * 4 {
                return Err(Error::Limit {
                    what: "the length of the expression".to_owned(),
                    limit: (MAX_DEPTH * 4).into(),
                });
            }
            if self.accept("[") {
                let index = self.deeper(|parser| parser.binary(0))?;
                self.expect("]")?;
                tree = Tree::Index(Box::new(tree), Box::new(index));
            } else if self.accept(".") {
                tree = Tree::Field(Box::new(tree), self.name()?);
            } else if self.accept("->") {
                tree = Tree::Arrow(Box::new(tree), self.name()?);
            } else if matches!(self.peek(), Kind::Sign("++" | "--")) {
                return Err(self.fault("values cannot be changed"));
            } else if matches!(self.peek(), Kind::Sign("(")) {
                return Err(self.fault("functions cannot be called"));
            } else {
                return Ok(tree);
            }
        }
    }

    fn primary(&mut self) -> Result<Tree> {
        let token = self.peek().clone();
        let tree = match token {
            Kind::Integer { value, unsigned, long, decimal } => Tree::Integer { value, unsigned, long, decimal },
            Kind::Float(value) => Tree::Float(value),
            Kind::Character(value) => Tree::Character(value),
            Kind::Text(text) => Tree::Text(text),
            Kind::Dollar(name) => Tree::Dollar(name),
            Kind::Quoted(file) => {
                self.next += 1;
                self.expect("::")?;
                return Ok(Tree::OfFile(file, self.name()?));
            }
            Kind::Name(name) => {
                self.next += 1;
                if !matches!(self.peek(), Kind::Sign("(")) {
                    return Ok(Tree::Name(name));
                }
                return self.call(name);
            }
            Kind::Sign("(") => {
                self.next += 1;
                let inner = self.deeper(|parser| parser.binary(0))?;
                self.expect(")")?;
                return Ok(inner);
            }
            Kind::End => return Err(self.fault("an operand is missing")),
            Kind::Sign(sign) => return Err(self.fault(format!("{sign} has no operand before it"))),
        };
        self.next += 1;
        Ok(tree)
    }

    fn call(&mut self, name: String) -> Result<Tree> {
        self.expect("(")?;
        match name.as_str() {
            "offsetof" | "__offsetof" | "__builtin_offsetof" => {
                let ty = self.type_name()?;
                self.expect(",")?;
                let member = self.member()?;
                self.expect(")")?;
                Ok(Tree::OffsetOf(ty, member))
            }
            "__containerof" | "container_of" | "__member2struct" => {
                let pointer = self.deeper(Self::conditional)?;
                self.expect(",")?;
                let ty = self.type_name()?;
                self.expect(",")?;
                let member = self.member()?;
                self.expect(")")?;
                Ok(Tree::Container(Box::new(pointer), ty, member))
            }
            _ => {
                let mut arguments = Vec::new();
                if !self.accept(")") {
                    loop {
                        arguments.push(self.deeper(Self::conditional)?);
                        if !self.accept(",") {
                            break;
                        }
                    }
                    self.expect(")")?;
                }
                Ok(Tree::Call(name, arguments))
            }
        }
    }

    /// A path of members, as [`Type::offset_of`] takes it.
    fn member(&mut self) -> Result<String> {
        let mut path = self.name()?;
        loop {
            if self.accept(".") {
                path.push('.');
                path.push_str(&self.name()?);
            } else if self.accept("[") {
                let Kind::Integer { value, .. } = self.peek() else { return Err(self.fault("a number is missing")) };
                path.push_str(&format!("[{value}]"));
                self.next += 1;
                self.expect("]")?;
            } else {
                return Ok(path);
            }
        }
    }
}
