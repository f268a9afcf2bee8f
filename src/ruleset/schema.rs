//! The JSON Schemas of the rule language and of rule tests, made from the very records that read it, for editors.

use super::document::Document;
use super::test_document::TestDocument;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

/// Where the schema is checked in, from the root of the repository.
pub const SCHEMA_PATH: &str = "rulesets/lockgate.schema.json";

/// Where the schema of test files is checked in, from the root of the repository.
pub const TEST_SCHEMA_PATH: &str = "rulesets/lockgate-test.schema.json";

/// The schema as it is checked in, with a newline at its end.
#[must_use]
pub fn schema() -> String {
    written::<Document>("lockgate ruleset")
}

/// The schema of test files as it is checked in, with a newline at its end.
#[must_use]
pub fn test_schema() -> String {
    written::<TestDocument>("lockgate rule tests")
}

fn written<T: JsonSchema>(title: &str) -> String {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    schema.insert("title".to_owned(), title.into());
    let text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    format!("{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_closed_and_every_field_described() {
        for (text, objects) in [(schema(), 11), (test_schema(), 4)] {
            let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
            let defs = schema["$defs"].as_object().unwrap();
            assert!(defs.len() >= objects, "{}", defs.len());
            for (name, def) in defs.iter().chain([(&"document".to_owned(), &schema)]) {
                assert_eq!(def["additionalProperties"], false, "{name}");
                for (field, property) in def["properties"].as_object().unwrap() {
                    assert!(property["description"].is_string(), "{name}.{field}");
                }
            }
        }
    }
}
