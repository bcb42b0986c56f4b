use tine_fuzz::pool::*;
fn main() {
    for (n, i) in [("sound", Image::sound().clone()), ("bomb", Image::bomb())] {
    let p = i.open().unwrap();
    let t = std::time::Instant::now();
    walk(&p); println!("{n}: walk {:?}", t.elapsed());
    }
}
