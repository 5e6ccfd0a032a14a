//! Exit codes, one case or more for each; 130 is in the tests of Ctrl-C.

use std::fs::File;

use crate::sandbox::{Sandbox, plant_other_hash};

#[test]
#[cfg(target_os = "linux")]
fn every_exit_code_has_its_case() {
    let sandbox = Sandbox::new();
    let fit = "fit customers.parquet -k 3 --id customer_id --out run --device";
    let mut codes = Vec::new();
    let mut told = |what: &str, command: &mut std::process::Command| {
        let code = command.output().unwrap().status.code().unwrap();
        codes.push(format!("{code} {what}"));
    };
    told("a fit", &mut sandbox.command(&format!("{fit} cpu")));
    told("a verification", &mut sandbox.command("verify run"));
    let full = File::options().write(true).open("/dev/full").unwrap();
    told(
        "stdout on a full disk",
        sandbox.command(&format!("{fit} cpu --overwrite")).stdout(full),
    );
    told("no such option", &mut sandbox.command("fit --kilo"));
    told("no such file", &mut sandbox.command("fit none.parquet -k 2"));
    told("the output is there", &mut sandbox.command(&format!("{fit} cpu")));
    told("no such GPU", &mut sandbox.command(&format!("{fit} gpu --overwrite")));
    let bench = "bench --rows 500 -k 2 --rounds 1 --no-ceilings";
    let earlier = File::create(sandbox.path("bench.json")).unwrap();
    told("a bench", sandbox.command(&format!("{bench} --json")).stdout(earlier));
    told(
        "a bench that would have to be a million times faster",
        &mut sandbox.command(&format!("{bench} --against bench.json --slower-than 0.000001")),
    );
    plant_other_hash(&sandbox.path("run/run.json"));
    told("another labels_hash", &mut sandbox.command("verify run"));
    insta::assert_snapshot!("exit_codes", codes.join("\n"));
}
