// Reads {"schema": ..., "value": ...} lines and says what ajv, the usual JSON Schema validator, makes of each.
const Ajv = require("ajv/dist/2020");
const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean);
const ajv = new Ajv({ strict: false, logger: false, validateFormats: false });
const out = lines.map((line) => {
    const { schema, value } = JSON.parse(line);
    try {
        return ajv.validate(schema, value) ? "valid" : "wrong";
    } catch (e) {
        return "refused";
    } finally {
        ajv.removeSchema();
    }
});
process.stdout.write(out.map((o) => o + "\n").join(""));
