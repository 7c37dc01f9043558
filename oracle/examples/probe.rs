use std::path::PathBuf;
fn main() {
    let a: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let image = kstruct_codegen::image::Image::open(&a[0]).unwrap();
    let images: Vec<_> = a[2..].iter().map(|p| kstruct_codegen::image::Image::open(p).unwrap()).collect();
    let model = kstruct_codegen::dwarf::read(&image, &images, &|_| ()).unwrap();
    let ours = kstruct_oracle::model::layouts(&model).unwrap();
    let btf = if a[1].to_str() == Some("-") { kstruct_oracle::btf::Btf::from_dwarf(&a[0]) } else { kstruct_oracle::btf::Btf::read(&a[1]) }.unwrap();
    let mut theirs = kstruct_oracle::btf::layouts(&btf).unwrap();
    kstruct_oracle::btf::add_modules(&btf, &a[1], &a[2..], &mut theirs).unwrap();
    let c = kstruct_oracle::compare(&ours, &theirs);
    println!("{:?} problems, {} types {} members {} bitfields, {} differ", model.problems, c.types, c.members, c.bit_fields, c.differences.len());
    let n = |f: &dyn Fn(&kstruct_oracle::Difference) -> bool| c.differences.iter().filter(|d| f(d)).count();
    println!("only ours {} only theirs {}", n(&|d| !d.they_know_it), n(&|d| !d.we_know_it));
    for d in c.differences.iter().take(60) { println!("{}", d.summary()); }
}
