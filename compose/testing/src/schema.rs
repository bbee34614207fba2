//! JSON schemas, as AsyncAPI 3 builds on them.

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use serde_json::Value;

/// One that accepts or refuses documents, formats included.
pub struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    pub fn new(schema: Value) -> Self {
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.set_default_draft(Draft::V7);
        compiler.add_resource("schema.json", schema).expect("the name is a file's");
        let index = compiler.compile("schema.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        Self { schemas, index }
    }

    pub fn accepts(&self, document: &Value) -> bool {
        self.schemas.validate(document, self.index).is_ok()
    }

    pub fn assert_accepts(&self, document: &Value) {
        if let Err(error) = self.schemas.validate(document, self.index) {
            panic!("{error} in {document:#}");
        }
    }
}
