//! The HTML report in a real browser: Chromium, where there is one.

mod common;

use std::path::PathBuf;
use std::process::Command;

use buildnet_report::{Format, render};

/// What a reader does, told line by line in an element that the test reads from the page afterwards.
const READER: &str = r##"<script>
(function () {
  var told = [];
  function all(selector) { return document.querySelectorAll(selector); }
  function tell(name, act) { try { told.push(name + ": " + act()); } catch (error) { told.push(name + ": " + error); } }
  function search(text) { var box = all("#search")[0]; box.value = text; box.dispatchEvent(new Event("input")); }
  tell("title", function () { return document.title; });
  tell("elements made from the build's text", function () { return all("img").length + all("main script").length; });
  tell("failures", function () { return all(".failure .name")[0].textContent + " | " + all(".failure pre")[0].textContent.split("\n")[2]; });
  tell("notices", function () { return all(".notice").length; });
  tell("critical path", function () { return [].map.call(all(".step .name"), function (name) { return name.textContent; }).join(" > "); });
  tell("tasks", function () { return all("tr.task").length; });
  tell("search", function () { search("cart.ts"); return [].map.call(all("tr.task .name"), function (name) { return name.textContent; }).join(); });
  tell("details", function () { all("tr.task")[0].click(); return all("tr.detail li")[0].textContent; });
  tell("search without a match", function () { search("nothing of it"); return all("tbody td")[0].textContent; });
  tell("no search", function () { search(""); return all("tr.task").length; });
  tell("only failed", function () {
    [].filter.call(all(".chip"), function (chip) { return /^failed/.test(chip.textContent); })[0].click();
    var rows = all("tr.task").length; all(".chip")[0].click(); return rows;
  });
  tell("sorted by name", function () { all("#tasks th")[0].click(); return all("tr.task .name")[1].textContent; });
  tell("pointed at", function () {
    var canvas = all("canvas")[0], box = canvas.getBoundingClientRect();
    var at = { clientX: box.left + box.width * 0.6, clientY: box.top + 26 + 24 + 12 };
    canvas.dispatchEvent(new PointerEvent("pointermove", at));
    return all("#tip b")[0].textContent;
  });
  tell("painted", function () {
    var canvas = all("canvas")[0], pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data, colors = {};
    for (var i = 0; i < pixels.length; i += 4) if (pixels[i + 3] === 255) colors[pixels[i] + "," + pixels[i + 1] + "," + pixels[i + 2]] = true;
    return Object.keys(colors).length > 5;
  });
  tell("theme", function () {
    function paper() { return getComputedStyle(document.body).backgroundColor; }
    var before = paper(); all("#theme")[0].click(); return before !== paper();
  });
  var element = document.createElement("pre");
  element.id = "told"; element.textContent = told.join("\n"); document.body.appendChild(element);
})();
</script></body>"##;

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&path).flat_map(|place| names.map(|name| place.join(name))).find(|program| program.is_file())
}

#[test]
fn a_reader_finds_their_way() {
    let Some(program) = chromium() else {
        eprintln!("skipped: no Chromium on PATH");
        return;
    };
    let page = String::from_utf8(render(&common::build(), Format::Html).unwrap()).unwrap();
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("browser");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("report.html");
    std::fs::write(&file, page.replace("</body>", READER)).unwrap();
    let output = Command::new(program)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--window-size=1280,1000",
        ])
        .arg(format!("--user-data-dir={}", directory.join("profile").display()))
        .arg("--dump-dom")
        .arg(format!("file://{}#theme=light", file.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8(output.stdout).unwrap();
    let told = dom.split_once("<pre id=\"told\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let Some((told, _)) = told else {
        panic!("the page did not run:\n{dom}\n{}", String::from_utf8_lossy(&output.stderr))
    };
    insta::assert_snapshot!(told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"));
}
