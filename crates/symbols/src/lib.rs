//! What a program's ELF files and their DWARF say: functions, lines, types, and values in a memory.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]
