/* schema.h - JSON Schema, as far as the parameters of tools use it (draft 2020-12, and what older drafts share with it).
 *
 * Checked: type, enum, const, properties, patternProperties, additionalProperties, propertyNames, required, minProperties,
 * maxProperties, items, prefixItems, minItems, maxItems, uniqueItems, minLength, maxLength, pattern, minimum, maximum,
 * exclusiveMinimum, exclusiveMaximum, multipleOf, allOf, anyOf, oneOf, not, if, then, else, dependentRequired, and $ref to
 * a place in the same schema. Read over, since they say nothing about what is valid: title, description, default, examples, format,
 * deprecated, readOnly, writeOnly, $schema, $id, $anchor, $comment, $defs, definitions. Any other keyword is an error of
 * schema_known, and is ignored by schema_check.
 *
 * Lengths count characters. Numbers are compared as doubles when either is not a 64-bit integer. Patterns are PCRE2's, searched for
 * anywhere, with a limit on the work. */
#pragma once

#include "base/js.h"

/* Whether every keyword of the schema, at any depth, is known and of the right form. -EBADMSG names the first that is not. */
int schema_known(const json_t *schema, struct err *e);

/* True when the value is valid. Else one sentence about the first thing that is wrong is appended, without a full stop:
 * `edits[0].old has to be a string, and is a number`; the value itself is called `it`. `say` may be NULL. */
bool schema_check(const json_t *schema, const json_t *value, struct buf *say);

/* The types a schema asks for at its top, as bits; 0: any. */
enum schema_type {
    SCHEMA_NULL = 1, SCHEMA_BOOLEAN = 2, SCHEMA_INTEGER = 4, SCHEMA_NUMBER = 8, SCHEMA_STRING = 16, SCHEMA_ARRAY = 32,
    SCHEMA_OBJECT = 64,
};
unsigned schema_types(const json_t *schema);
