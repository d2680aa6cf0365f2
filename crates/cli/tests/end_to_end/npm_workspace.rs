//! An npm workspace in TypeScript with the compiler from the registry, and not a line of configuration for BuildNet.

use std::process::Command;

use crate::support::{Place, skip, those};

const ROOT: &str = r#"{ "name": "shop", "private": true, "workspaces": ["packages/*"],
  "devDependencies": { "typescript": "5.9.3" } }
"#;

const COMPILER: &str = r#"{ "compilerOptions": { "target": "ES2022", "module": "commonjs", "strict": true,
  "declaration": true, "removeComments": true, "types": [], "skipLibCheck": true } }
"#;

/// Packages with what they depend on, and their sources.
const PACKAGES: [(&str, &[&str], &str); 5] = [
    (
        "money",
        &[],
        "export interface Money { readonly cents: number; readonly currency: string }\n\
         export function add(one: Money, other: Money): Money {\n\
           if (one.currency !== other.currency) throw new Error(`${one.currency} is not ${other.currency}`);\n\
           return { cents: one.cents + other.cents, currency: one.currency };\n}\n\
         export const show = (money: Money): string => `${(money.cents / 100).toFixed(2)} ${money.currency}`;\n",
    ),
    (
        "catalogue",
        &["money"],
        "import { Money } from '@shop/money';\n\
         export interface Article { name: string; price: Money }\n\
         const articles = new Map<string, Article>();\n\
         export function offer(article: Article): void { articles.set(article.name, article); }\n\
         export function find(name: string): Article | undefined { return articles.get(name); }\n",
    ),
    (
        "basket",
        &["money", "catalogue"],
        "import { add, Money } from '@shop/money';\nimport { find } from '@shop/catalogue';\n\
         export class Basket {\n  #total: Money = { cents: 0, currency: 'EUR' };\n\
           put(name: string): this {\n    const article = find(name);\n\
             if (!article) throw new Error(`no ${name}`);\n\
             this.#total = add(this.#total, article.price);\n    return this;\n  }\n\
           get total(): Money { return this.#total; }\n}\n",
    ),
    (
        "text",
        &[],
        "export function underline(text: string): string { return `${text}\\n${'='.repeat(text.length)}`; }\n",
    ),
    (
        "cli",
        &["basket", "catalogue", "money", "text"],
        "import { Basket } from '@shop/basket';\nimport { offer } from '@shop/catalogue';\n\
         import { show } from '@shop/money';\nimport { underline } from '@shop/text';\n\
         offer({ name: 'tea', price: { cents: 420, currency: 'EUR' } });\n\
         offer({ name: 'cup', price: { cents: 999, currency: 'EUR' } });\n\
         declare const console: { log(text: string): void };\n\
         console.log(underline(show(new Basket().put('tea').put('cup').total)));\n",
    ),
];

/// The workspace, installed; none if there is no npm or no registry.
fn workspace() -> Option<Place> {
    let place = Place::with(&[
        ("package.json", ROOT),
        ("tsconfig.base.json", COMPILER),
        (".gitignore", "node_modules\ndist\n"),
    ]);
    for (name, dependencies, source) in PACKAGES {
        let at = |file: &str| format!("packages/{name}/{file}");
        let dependencies: Vec<String> = dependencies.iter().map(|name| format!(r#""@shop/{name}": "*""#)).collect();
        place.write(
            &at("package.json"),
            &format!(
                r#"{{ "name": "@shop/{name}", "version": "1.0.0", "main": "dist/index.js", "types": "dist/index.d.ts",
  "scripts": {{ "build": "tsc -p .", "test": "node test.js", "lint": "tsc -p . --noEmit --noUnusedLocals" }},
  "dependencies": {{ {} }} }}
"#,
                dependencies.join(", ")
            ),
        );
        place.write(
            &at("tsconfig.json"),
            r#"{ "extends": "../../tsconfig.base.json", "compilerOptions": { "rootDir": "src", "outDir": "dist" }, "include": ["src"] }"#,
        );
        place.write(&at("src/index.ts"), source);
        place.write(&at("test.js"), "const it = require('./dist');\nif (typeof it !== 'object') process.exit(1);\n");
    }
    place.write(
        "packages/money/test.js",
        "const assert = require('node:assert');\nconst { add, show } = require('./dist');\n\
         assert.equal(show(add({ cents: 1, currency: 'EUR' }, { cents: 99, currency: 'EUR' })), '1.00 EUR');\n",
    );
    let installed = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--prefer-offline"])
        .current_dir(place.root())
        .output();
    match installed {
        Err(error) => skip(&format!("npm cannot be started: {error}")),
        Ok(output) if !output.status.success() => {
            skip(&format!("npm cannot install: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(_) => return Some(place),
    }
    None
}

const ALL: &str = "@shop/basket:build @shop/catalogue:build @shop/cli:build @shop/money:build @shop/text:build";

#[test]
fn without_configuration() {
    let Some(place) = workspace() else { return };
    assert_eq!(those(&place.tiers(&["build"]), &["full"]), ALL);
    let shop = || {
        let output = Command::new("node").arg(place.root().join("packages/cli/dist/index.js")).output();
        String::from_utf8(output.expect("node is there where npm is").stdout).expect("it writes text")
    };
    assert_eq!(shop(), "14.19 EUR\n=========\n");
    assert_eq!(those(&place.tiers(&["build"]), &["instant"]), ALL);

    // A comment does not survive the compiler: what depends on the package does not run.
    place.append("packages/money/src/index.ts", "// nothing but a comment\n");
    assert_eq!(those(&place.tiers(&["build"]), &["full", "incremental", "failed"]), "@shop/money:build");

    // A change that shows in the output runs the package and what depends on it, however far, but nothing else.
    let source = place.read("packages/catalogue/src/index.ts");
    place.write("packages/catalogue/src/index.ts", &source.replace("articles.get(name)", "articles.get(name.trim())"));
    let rebuilt = place.tiers(&["build"]);
    let ran = those(&rebuilt, &["full"]);
    assert!(ran.starts_with("@shop/basket:build @shop/catalogue:build"), "{ran}");
    assert!(!ran.contains("money") && !ran.contains("text"), "{ran}");
    place.run(&["why", "@shop/catalogue"]).expect(0, &["packages/catalogue/src/index.ts changed"]);
    assert_eq!(shop(), "14.19 EUR\n=========\n");

    // The output of a package is an input of what depends on it: a wrong type is found there.
    place.write(
        "packages/money/src/index.ts",
        "export const show = 1;\nexport type Money = string;\nexport const add = 2;\n",
    );
    place.run(&["build"]).expect(1, &["failed", "error TS"]);
}

#[test]
fn tests_lints_and_another_checkout() {
    let Some(place) = workspace() else { return };
    let tested = place.tiers(&["test"]);
    assert_eq!(those(&tested, &["full"]).split(' ').count(), 10, "{tested:?}");
    let linted = place.tiers(&["run", "lint"]);
    assert!(linted.keys().any(|task| task == "@shop/money:lint"), "{linted:?}");
    assert_eq!(those(&linted, &["failed"]), "");
    place.append("packages/text/src/index.ts", "import { nothing } from './nothing';\n");
    place.run(&["run", "lint", "@shop/text"]).expect(1, &["TS2307", "nothing"]);
    let source = place.read("packages/text/src/index.ts");
    place.write("packages/text/src/index.ts", source.split("import").next().expect("there is a first part"));

    let other = place.checkout("other", |name| name != ".buildnet");
    for (name, ..) in PACKAGES {
        let _ = std::fs::remove_dir_all(other.root.join("packages").join(name).join("dist"));
    }
    let restored = other.tiers(&["test"]);
    assert_eq!(those(&restored, &["full", "incremental"]), "", "{restored:?}");
    assert!(other.read("packages/basket/dist/index.d.ts").contains("class Basket"));
}
