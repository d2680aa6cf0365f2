//! Workspaces that are found without configuration, and what their tasks are lowered to.

mod common;

use std::path::Path;

use buildnet_engine::build::{ActionSpec, EnvSource, Plan};
use buildnet_workspace::{Manager, Overrides, Request, Workspace, find_root};
use common::{load, tree, write};
use tempfile::TempDir;

fn plan(workspace: &Workspace, task: &str) -> Plan {
    workspace.plan(&Request { task: task.into(), packages: Vec::new() }).expect("the task exists")
}

fn spec<'p>(plan: &'p Plan, name: &str) -> &'p ActionSpec {
    plan.tasks.values().find(|spec| spec.name.to_string() == name).unwrap_or_else(|| panic!("no {name} in the plan"))
}

/// A spec as JSON, the root taken out.
fn json(spec: &ActionSpec, root: &Path) -> String {
    let text = serde_json::to_string_pretty(spec).expect("a spec is plain data");
    text.replace(&root.canonicalize().unwrap().display().to_string(), "ROOT")
}

fn npm_workspace() -> TempDir {
    tree(&[
        (
            "package.json",
            r#"{ "private": true, "workspaces": ["packages/*", "!packages/skipped"], "scripts": { "build": "npm run -ws build" } }"#,
        ),
        ("package-lock.json", "{}"),
        ("tsconfig.base.json", r#"{ "compilerOptions": { "declaration": true, "composite": true } }"#),
        (".gitignore", "node_modules\ndist\ncoverage\n*.tsbuildinfo\n"),
        ("node_modules/.package-lock.json", "{}"),
        ("node_modules/.bin/", ""),
        (
            "packages/util/package.json",
            r#"{ "name": "@acme/util", "version": "1.2.3", "main": "dist/index.js", "types": "dist/index.d.ts", "files": ["dist", "schema.json"],
                 "scripts": { "prebuild": "echo before", "build": "tsc -p .", "postbuild": "echo after", "test": "node --test dist", "generate": "node gen.js" } }"#,
        ),
        (
            "packages/util/tsconfig.json",
            "{\n  // comment\n  \"extends\": \"../../tsconfig.base.json\",\n  \"compilerOptions\": { \"outDir\": \"./dist\", \"rootDir\": \"src\", },\n}\n",
        ),
        (
            "packages/data/package.json",
            r#"{ "name": "data", "main": "index.json", "dependencies": { "@acme/util": "*" } }"#,
        ),
        (
            "packages/app/package.json",
            r#"{ "name": "app", "dependencies": { "data": "workspace:^1.0.0", "left-pad": "1" }, "devDependencies": { "app": "*" },
                 "peerDependencies": { "alias": "npm:@acme/util@1" }, "scripts": { "build": "webpack", "lint": "eslint ." } }"#,
        ),
        ("packages/app/node_modules/x/", ""),
        ("packages/skipped/package.json", r#"{ "name": "skipped" }"#),
        ("packages/no-package/README.md", ""),
    ])
}

#[test]
fn npm() {
    let directory = npm_workspace();
    let workspace = load(directory.path()).unwrap();
    assert_eq!(workspace.managers, [Manager::Npm]);
    assert_eq!(workspace.packages.keys().map(|name| &**name).collect::<Vec<_>>(), ["@acme/util", "app", "data"]);
    assert_eq!(workspace.warnings, Vec::<String>::new());
    let plan = plan(&workspace, "build");
    insta::assert_snapshot!("npm_util_build", json(spec(&plan, "@acme/util:build"), directory.path()));
    // `data` has no build: `app` waits for the build of what `data` needs, and sees all of `data`.
    insta::assert_snapshot!("npm_app_build", json(spec(&plan, "app:build"), directory.path()));
    insta::assert_snapshot!("npm_data_interface", json(spec(&plan, "data:(interface)"), directory.path()));
    assert_eq!(
        spec(&plan, "@acme/util:(interface)").inputs[0].include,
        ["**/*", "package.json", "schema.json", "schema.json/**", "tsconfig*.json"]
    );
}

#[test]
fn npm_tasks_know_their_order() {
    let directory = npm_workspace();
    let workspace = load(directory.path()).unwrap();
    let text = |task: &str| workspace.graph(&Request { task: task.into(), packages: Vec::new() }).unwrap().to_text();
    assert_eq!(text("test"), "@acme/util:test\n└── @acme/util:build\n");
    assert_eq!(text("lint"), "app:lint\n└── @acme/util:build\n");
    // What an unknown script writes is unknown.
    let plan = plan(&workspace, "generate");
    let generate = spec(&plan, "@acme/util:generate");
    assert!(!generate.cache && generate.sandbox == buildnet_engine::build::SandboxMode::Off);
}

/// Packages that need each other are no obstacle as long as their tasks do not wait for each other.
#[test]
fn packages_in_a_circle() {
    let member = |name: &str, needs: &str, scripts: &str| {
        format!(
            "{{ \"name\": \"{name}\", \"devDependencies\": {{ \"{needs}\": \"*\" }}, \"scripts\": {{ {scripts} }} }}"
        )
    };
    let directory = tree(&[
        ("package.json", r#"{ "workspaces": ["p/*"] }"#),
        ("p/a/package.json", &member("a", "b", "")),
        ("p/b/package.json", &member("b", "a", "")),
        ("p/c/package.json", &member("c", "a", "\"build\": \"x\"")),
    ]);
    let plan = plan(&load(directory.path()).unwrap(), "build");
    let a = spec(&plan, "a:(interface)");
    assert_eq!(a.inputs.iter().map(|group| group.base.as_str()).collect::<Vec<_>>(), ["p/a", "p/b"]);
    assert_eq!(a.dependencies, []);
}

#[test]
fn pnpm() {
    let directory = tree(&[
        ("package.json", "{}"),
        ("pnpm-workspace.yaml", "packages:\n  - 'apps/**'\n  - \"!**/test/**\"\ncatalog:\n  react: ^18\n"),
        ("pnpm-lock.yaml", "lockfileVersion: '9.0'\n"),
        ("apps/web/package.json", r#"{ "name": "web", "dependencies": { "inner": "workspace:*" } }"#),
        ("apps/group/inner/package.json", r#"{ "name": "inner" }"#),
        ("apps/web/test/fixture/package.json", r#"{ "name": "fixture" }"#),
        ("apps/web/node_modules/dep/package.json", r#"{ "name": "dep" }"#),
    ]);
    let workspace = load(directory.path()).unwrap();
    assert_eq!(workspace.managers, [Manager::Pnpm]);
    assert_eq!(workspace.packages.keys().map(|name| &**name).collect::<Vec<_>>(), ["inner", "web"]);
    assert_eq!(workspace.packages["web"].dependencies, ["inner".into()]);
    assert_eq!(workspace.warnings, ["there is no node_modules: run `pnpm install --frozen-lockfile` first"]);
}

#[test]
fn yarn_and_a_package_alone() {
    let directory = tree(&[
        ("package.json", r#"{ "workspaces": { "packages": ["a"] } }"#),
        ("yarn.lock", ""),
        ("a/package.json", r#"{ "name": "a" }"#),
    ]);
    assert_eq!(load(directory.path()).unwrap().managers, [Manager::Yarn]);
    let directory = tree(&[("package.json", r#"{ "name": "alone", "scripts": { "build": "make" } }"#)]);
    let workspace = load(directory.path()).unwrap();
    assert_eq!(workspace.packages["alone"].directory, "");
    let build = plan(&workspace, "build");
    assert_eq!(spec(&build, "alone:build").inputs[0].base, "");
}

fn cargo_workspace() -> TempDir {
    tree(&[
        (
            "Cargo.toml",
            "[workspace]\nmembers = [\"crates/*\"]\nexclude = [\"crates/old\"]\n[workspace.dependencies]\nbase = { path = \"crates/base\" }\n",
        ),
        ("Cargo.lock", "version = 4\n"),
        (
            "crates/base/Cargo.toml",
            "[package]\nname = \"base\"\nversion = \"0.1.0\"\n[dev-dependencies]\ntool = { path = \"../tool\" }\n",
        ),
        ("crates/base/src/lib.rs", ""),
        (
            "crates/tool/Cargo.toml",
            "[package]\nname = \"tool\"\nversion.workspace = true\n[dependencies]\nbase.workspace = true\nserde = \"1\"\n[target.'cfg(unix)'.build-dependencies]\nhidden = { path = \"../../hidden\" }\n[[bin]]\nname = \"extra\"\npath = \"src/extra.rs\"\n",
        ),
        ("crates/tool/src/main.rs", "fn main() {}"),
        ("crates/tool/src/extra.rs", "fn main() {}"),
        ("crates/tool/src/bin/one.rs", "fn main() {}"),
        ("crates/tool/src/bin/two/main.rs", "fn main() {}"),
        ("crates/other/Cargo.toml", "[package]\nname = \"other\"\n"),
        ("crates/other/src/lib.rs", ""),
        ("crates/old/Cargo.toml", "[package]\nname = \"old\"\n"),
        ("hidden/Cargo.toml", "[package]\nname = \"hidden\"\n"),
        ("hidden/src/lib.rs", ""),
    ])
}

#[test]
fn cargo() {
    let directory = cargo_workspace();
    let home = tree(&[("registry/", ""), ("bin/", ""), ("config.toml", "")]);
    let overrides = Overrides { cargo_home: Some(home.path().to_path_buf()), ..Overrides::default() };
    let workspace = Workspace::load(directory.path(), None, &overrides).unwrap();
    assert_eq!(workspace.managers, [Manager::Cargo]);
    assert_eq!(workspace.packages.keys().map(|name| &**name).collect::<Vec<_>>(), ["base", "hidden", "other", "tool"]);
    assert_eq!(workspace.packages["tool"].dependencies, ["base".into(), "hidden".into()]);
    // A dependency of tests only is no edge: the two would wait for each other.
    assert_eq!(workspace.packages["base"].dependencies, []);
    let plan = plan(&workspace, "build");
    let text = json(spec(&plan, "tool:build"), directory.path());
    insta::assert_snapshot!("cargo_tool_build", text.replace(&home.path().display().to_string(), "CARGO_HOME"));
}

#[test]
fn tests_see_what_only_tests_need() {
    let directory = cargo_workspace();
    let workspace = load(directory.path()).unwrap();
    let bases = |task: &str| {
        let plan = plan(&workspace, task);
        spec(&plan, &format!("base:{task}")).inputs.iter().map(|group| group.base.clone()).collect::<Vec<_>>()
    };
    assert_eq!(bases("build"), ["crates/base", ""]);
    assert_eq!(bases("test"), ["crates/base", "hidden", "crates/tool", ""]);
}

#[test]
fn buildnet_yaml_overrides_what_was_discovered() {
    let directory = npm_workspace();
    write(
        directory.path(),
        "buildnet.yaml",
        "packages:
  - name: app
    sources: [src, '!src/**/*.md', //assets/*.png]
    output_dir: public
    env: {MODE: production, LEVEL: package}
    inherit_env: [CI]
    hooks: {pre_build: echo one, post_build: [echo two, echo three]}
    tasks:
      lint: {sandbox: warn, network: true, memory: 1GiB, timeout: 90s, retries: 0, cpus: 2, cache: false, state: [.cache]}
      bundle: {command: zip, depends_on: [build], inputs: [], outputs: ['*.zip']}
tasks:
  build: {env: {LEVEL: workspace, STAGE: '1'}, platform: {arch: x86-64}}
  lint: {depends_on: []}
  generate: {outputs: [generated]}
global_inputs: [tools/**]
sandbox: warn
",
    );
    let workspace = load(directory.path()).unwrap();
    assert_eq!(workspace.managers, [Manager::Npm, Manager::BuildNet]);
    let build = plan(&workspace, "build");
    insta::assert_snapshot!("overridden_app_build", json(spec(&build, "app:build"), directory.path()));
    let lint = plan(&workspace, "lint");
    let real = lint.tasks.values().filter(|spec| !spec.commands.is_empty()).count();
    assert_eq!(real, 1, "an empty `depends_on` means that nothing comes first");
    insta::assert_snapshot!("overridden_app_lint", json(spec(&lint, "app:lint"), directory.path()));
    let bundle = plan(&workspace, "bundle");
    let spec_of_bundle = spec(&bundle, "app:bundle");
    assert_eq!(spec_of_bundle.outputs, ["packages/app/*.zip"]);
    assert!(spec_of_bundle.dependencies.iter().any(|name| name.to_string() == "app:build"));
    // Its outputs are known now: it is confined and cached as others are.
    let generate = plan(&workspace, "generate");
    let generate = spec(&generate, "@acme/util:generate");
    assert!(generate.cache && generate.outputs == ["packages/util/generated"]);
}

#[test]
fn precedence() {
    let directory = tree(&[
        ("buildnet.yaml", "packages: [{name: a}]\njobs: 3\ncache: {dir: blobs}\ndaemon: {listen: '127.0.0.1:1'}\n"),
        ("a/", ""),
        ("user.yaml", "jobs: 2\nkeep_going: true\ncache: {max_size: 1GB, dir: other}\n"),
    ]);
    let root = directory.path().canonicalize().unwrap();
    let mut overrides = Overrides::default();
    overrides.environment.insert("BUILDNET_JOBS".into(), "4".into());
    overrides.environment.insert("BUILDNET_LISTEN".into(), "127.0.0.1:2".into());
    overrides.flags.listen = Some("127.0.0.1:3".into());
    let settings = Workspace::load(&root, Some(&root.join("user.yaml")), &overrides).unwrap().settings;
    assert_eq!(settings.jobs, Some(4));
    assert_eq!(settings.listen, "127.0.0.1:3");
    assert_eq!(settings.cache_dir, Some(root.join("blobs")));
    assert_eq!((settings.cache_max_size, settings.keep_going), (1_000_000_000, true));

    overrides.environment.insert("BUILDNET_JOBS".into(), "many".into());
    overrides.environment.insert("BUILDNET_SANDBOX".into(), "loose".into());
    write(&root, "user.yaml", "packages: []\n");
    let errors = Workspace::load(&root, Some(&root.join("user.yaml")), &overrides).unwrap_err();
    insta::assert_snapshot!("wrong_settings", errors.to_string().replace(&root.display().to_string(), "ROOT"));
}

#[test]
fn requests_that_name_nothing() {
    let directory = npm_workspace();
    let workspace = load(directory.path()).unwrap();
    let ask = |task: &str, packages: &[&str]| {
        let packages = packages.iter().map(ToString::to_string).collect();
        workspace
            .plan(&Request { task: task.into(), packages })
            .map(|plan| plan.tasks.values().filter(|spec| !spec.commands.is_empty()).count())
            .map_err(|e| e.to_string())
    };
    assert_eq!(ask("build", &["@acme/util"]), Ok(1));
    assert_eq!(ask("build", &["app", "app:lint"]), Ok(3));
    insta::assert_snapshot!(ask("biuld", &[]).unwrap_err());
    insta::assert_snapshot!(ask("build", &["ap", "data", "app:lnt"]).unwrap_err());
}

#[test]
fn finds_the_root() {
    let directory = npm_workspace();
    let root = directory.path().canonicalize().unwrap();
    assert_eq!(find_root(&root.join("packages/util")).unwrap(), root);
    write(&root, "packages/util/buildnet.yaml", "");
    assert_eq!(find_root(&root.join("packages/util")).unwrap(), root.join("packages/util"));
    let directory = cargo_workspace();
    let root = directory.path().canonicalize().unwrap();
    assert_eq!(find_root(&root.join("crates/tool/src")).unwrap(), root);
}

#[test]
fn configuration_files_are_all_that_matters() {
    let directory = npm_workspace();
    let root = directory.path().canonicalize().unwrap();
    let workspace = load(&root).unwrap();
    let has = |path: &str| workspace.config_files.contains(&root.join(path));
    for path in [
        "buildnet.yaml",
        "package.json",
        "packages",
        "packages/app",
        "packages/app/package.json",
        "packages/util/tsconfig.json",
        "tsconfig.base.json",
        ".gitignore",
        "Cargo.toml",
        "node_modules/.package-lock.json",
    ] {
        assert!(has(path), "{path} is not among {:?}", workspace.config_files);
    }
    assert!(!workspace.config_files.iter().any(|path| path.ends_with("packages/app/node_modules")));
}

#[test]
fn environment_of_scripts() {
    let directory = npm_workspace();
    let workspace = load(directory.path()).unwrap();
    let plan = plan(&workspace, "test");
    let environment = &spec(&plan, "@acme/util:test").environment;
    assert_eq!(environment["npm_lifecycle_event"], EnvSource::Value("test".into()));
    assert_eq!(environment["npm_package_version"], EnvSource::Value("1.2.3".into()));
}
