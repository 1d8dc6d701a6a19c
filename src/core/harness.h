/* harness.h - behaviour as data: what the model reads and how it is run.
 *
 * A harness is a folder of files, compiled in or on disk:
 *
 *     harness.yaml        name, version, system: [files], tools: [names], limits: {...}, output: {...},
 *                         shell: {persistent: true}, context: {fold_above: BYTES},
 *                         plan: [file, file]: what is said when mode plan begins, and has ended
 *                         models: {"PATTERN PATTERN": {TOOL: TOOL}}: for models of such names another tool in its place
 *     system.md ...       the system prompt, in sections; {{cwd}} and {{date}} are filled in from the log
 *     tools/NAME.json     description and parameters of a tool, as the model gets them
 *
 * Its hash covers every file's name and bytes, and stands in the first event of every session that uses it. Immutable
 * once loaded. */
#pragma once

#include "base/err.h"
#include "base/hash.h"
#include "core/tool.h"

struct harness_tool {
    const struct tool *tool;
    json_t *schema;             /* of its parameters: an object, of keywords that are checked */
    char *json;                 /* {"name":...,"description":...,"parameters":...}, one line */
    struct str about, parameters;       /* its parts: the members name and description, and the value of parameters */
};

struct harness {
    char *name;
    char *source;               /* what it was loaded by: a built-in name, or an absolute path */
    int64_t version;
    struct hash hash;
    char *system;               /* with its {{...}} still in it */
    char *plan[2];              /* what the model is told when mode plan begins, and when it has ended; NULL: nothing */
    struct harness_tool *tools;
    size_t ntools;
    struct limits limits;       /* where the user says nothing */
    int64_t max_output;         /* tokens of one answer; 0: the service's own limit */
    size_t result_head, result_tail;    /* bytes of a tool's output that enter the context */
    int64_t fold_above;         /* bytes: a closed step of the plan that would save as many is folded into its outcome; 0: never */
    bool shell_persists;                /* a command begins in the directory and with the variables in which the one before ended */
};

/* A name of a built-in one, or a directory (anything with a slash). -ENOENT names what there is. `model`: PROVIDER/NAME for which
 * the tools are chosen, for the whole of a session; NULL: none in particular. */
int harness_load(const char *name, const char *model, struct harness **ret, struct err *e);
void harness_free(struct harness *h);           /* takes NULL */

/* The system prompt with its blanks filled in. Caller frees. */
char *harness_system(const struct harness *h, const char *cwd, int64_t created);

/* The tool that a model means by a name, or NULL: case, a leading "functions." and marks of chat templates do not count. */
const struct harness_tool *harness_tool(const struct harness *h, struct str name);

/* Files compiled in: path below harness/, bytes. Made by the build. */
struct asset {
    const char *path;
    const char *data;
    size_t n;
};
extern const struct asset assets[];
extern const size_t nassets;
