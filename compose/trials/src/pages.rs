//! The image of the pages answers like the native server of the same files.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::engine::Engine;
use crate::site::Site;
use stack::checkout;
use stack::interrupt::Interrupt;
use stack::launch::Program;
use stack::ports;
use stack::probe::Probe;
use stack::process::Process;

const WITHIN: Duration = Duration::from_secs(10);
const HEADERS: [&str; 6] = ["content-type", "cache-control", "content-encoding", "vary", "location", "retry-after"];
const ENCODINGS: [&str; 4] = ["identity", "gzip", "gzip, deflate, br, zstd", "br;q=0, gzip"];

/// `image`: the container of the pages and its address.
pub fn are_served_as_natively(
    engine: &Engine,
    site: &Site,
    image: (&str, SocketAddr),
    interrupt: &Interrupt,
) -> Result<()> {
    let (container, address) = image;
    let folder = TempDir::new()?;
    engine.docker(["cp", &format!("{container}:/pages"), &folder.path().display().to_string()]).run_quietly()?;
    let native = ports::free()?;
    let root = folder.path().join("pages");
    let mut process = Process::start(Program {
        name: "web".to_owned(),
        path: checkout::binary("stack")?,
        arguments: ["web".into(), "--listen".into(), native.to_string().into(), "--root".into(), root.clone().into()]
            .into(),
        environment: Vec::new(),
        account: None,
        log: folder.path().join("web.log"),
        stop_signal: Signal::SIGTERM,
        stop_within: WITHIN,
    })?;
    process.wait_ready(&Probe::Http { address: native, path: "/readyz".to_owned() }, WITHIN, interrupt)?;
    let mut paths =
        ["/", "/sales.html", "/docs", "/docs/", "/missing", "/assets/missing.js"].map(str::to_owned).to_vec();
    paths.extend([400, 413, 429, 500, 503].map(|status| format!("/problems/{status}.json")));
    for file in std::fs::read_dir(root.join("assets"))? {
        let file = file?.path();
        // Compressed variants are requested by the name of the original.
        if file.extension().is_some_and(|end| end != "br" && end != "gz") {
            paths.push(format!("/assets/{}", file.file_name().unwrap_or_default().display()));
        }
    }
    for path in &paths {
        for encoding in ENCODINGS {
            let answers = [address, native].map(|address| {
                site.send(site.http.get(format!("http://{address}{path}")).header("Accept-Encoding", encoding))
            });
            let [ours, theirs] = answers;
            let (ours, theirs) = (ours?, theirs?);
            let what = format!("{path} with {encoding}");
            ensure!(ours.status == theirs.status, "{what} is {}, natively {}", ours.status, theirs.status);
            // nginx adds a body to redirects.
            for name in HEADERS.into_iter().filter(|name| *name != "content-type" || !ours.status.is_redirection()) {
                let (here, there) = (ours.header(name), theirs.header(name));
                ensure!(here.eq_ignore_ascii_case(there), "{name} of {what} is {here:?}, natively {there:?}");
            }
            ensure!(
                !ours.status.is_success() || ours.text == theirs.text,
                "the content of {what} differs from the native one"
            );
        }
    }
    Ok(())
}
