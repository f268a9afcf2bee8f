//! Rule tests, explanations and reports, all by the production engine.
