//! Trees: what they are made from, and looking at all that is in one.

#[path = "../../crates/tree/tests/support/mod.rs"]
mod support;

use std::io::Cursor;
use std::path::Path;

use support::{Body, Form, Item, Sparse, Spec};
use tree::{Builder, Kind, NodeId, Options, Tree};

/// Nodes and ranges beyond these are not looked at.
const MOST: usize = 1000;

/// Archives of a small tree in all the forms that sparse files have.
pub fn archives() -> Vec<Vec<u8>> {
    let forms = [Sparse::No, Sparse::Old, Sparse::Pax00, Sparse::Pax01, Sparse::Pax10];
    forms.into_iter().map(|form| support::write_tar(&sample(), form)).collect()
}

/// Manifests of the same tree.
pub fn manifests() -> Vec<Vec<u8>> {
    [Form::Paths, Form::Nested].into_iter().map(|form| support::write_mtree(&sample(), form)).collect()
}

/// Makes the checksums of all header blocks right again, so that what was done to them is read.
pub fn mend(archive: &mut [u8]) {
    for block in archive.as_chunks_mut::<512>().0 {
        if &block[257..262] == b"ustar" {
            *block = support::finish_header(*block);
        }
    }
}

/// The small tree itself.
pub fn tree() -> Tree {
    let archive = support::write_tar(&sample(), Sparse::No);
    let mut builder = Builder::new(Options::default()).expect("options are valid");
    builder.add_tar_from(Path::new("archive"), Cursor::new(archive)).expect("the archive is sound");
    builder.finish().expect("the archive is whole")
}

/// Looks at everything in a tree, but only at a little of each file: a few bytes of input can stand for a file of
/// any size.
pub fn walk(tree: &Tree) {
    for id in tree.nodes().take(MOST) {
        let node = tree.node(id);
        let path = tree.path(id);
        assert_eq!(tree.lookup(&path), Some(id));
        assert!(tree.entries(id).all(|entry| tree.parent(entry.node).is_some()));
        let _ = (tree.symlink_target(id), tree.device(id), tree.xattrs(id), tree.acl(id));
        if node.kind == Kind::File {
            read(tree, id);
        }
    }
    let _ = (tree.posix_acls(), tree.memory());
}

fn read(tree: &Tree, id: NodeId) {
    let Ok(content) = tree.open(id) else { return };
    let size = content.size();
    let mut buffer = [0; 4096];
    let length = size.min(4096);
    for offset in [0, size / 2, size - length] {
        let length = length.min(size - offset) as usize;
        let _ = content.read_exact_at(&mut buffer[..length], offset);
    }
    assert!(content.read_exact_at(&mut buffer, size.saturating_sub(4095)).is_err());
    let mut at = 0;
    for _ in 0..MOST {
        let Ok(Some(range)) = content.next_data(at) else { break };
        assert!(range.start >= at && range.end > range.start && range.end <= size, "{range:?} after {at}");
        at = range.end;
    }
}

fn sample() -> Spec {
    let mut holes = Item::new(Body::File { data: vec![(600, vec![1; 700]), (5000, vec![2; 10])], size: 9000 });
    holes.xattrs = vec![(b"user.a".to_vec(), b"value".to_vec())];
    let long = vec![b'l'; 180];
    [
        (&b"d"[..], Item::new(Body::Directory)),
        (b"d/e", Item::new(Body::Directory)),
        (b"d/holes", holes),
        (b"d/text", Item::file(b"some text")),
        (b"link", Item::new(Body::Link(b"d/text".to_vec()))),
        (b"pipe", Item::new(Body::Fifo)),
        (b"symlink", Item::new(Body::Symlink(b"d/text".to_vec()))),
        (&long, Item::file(&[b'x'; 2000])),
    ]
    .map(|(path, item)| (path.to_vec(), item))
    .into()
}
