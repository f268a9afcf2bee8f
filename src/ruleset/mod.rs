//! Ruleset files to a checked model to a compiled policy, with diagnostics for people.
