//! What `make install` puts where.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use skiff_tests::{bin, output, repository};

#[test]
fn an_install_into_a_destination_is_whole_and_enables_nothing() {
    let dest = tempfile::tempdir().unwrap();
    let mut install = Command::new(repository("scripts/install.sh"));
    install.arg(bin("skiff").parent().unwrap()).env("DESTDIR", dest.path()).env("PREFIX", "/opt/skiff");
    let said = output(&mut install);
    assert!(said.contains("was not enabled"), "{said}");
    let path = |path: &str| dest.path().join(path.trim_start_matches('/'));
    for program in ["skiff", "ctl"] {
        let installed = path(&format!("/opt/skiff/bin/{program}"));
        assert_eq!(installed.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert!(output(Command::new(&installed).arg("--help")).contains("Usage"));
        for (folder, file) in [
            ("bash-completion/completions", program.to_owned()),
            ("zsh/site-functions", format!("_{program}")),
            ("fish/vendor_completions.d", format!("{program}.fish")),
        ] {
            let completion =
                std::fs::read_to_string(path(&format!("/opt/skiff/share/{folder}/{file}"))).unwrap();
            assert!(completion.contains(program), "{folder}/{file}");
        }
    }
    let unit = path("/etc/systemd/system/skiff.service");
    let text = std::fs::read_to_string(&unit).unwrap();
    assert!(
        text.contains("ExecStart=/opt/skiff/bin/skiff up") && text.contains("KillMode=process"),
        "{text}"
    );
    assert!(!path("/etc/systemd/system/multi-user.target.wants").exists());
}
