//! `cargo xtask lab`.

/// Options of `cargo xtask lab`.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
