#include "core/harness.h"

#include "base/clock.h"
#include "base/schema.h"
#include "base/yaml.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX   ((size_t)256 << 10)
#define FILES_MAX  256
#define DEPTH_MAX  4

struct file {
    char *path;                 /* below the harness's folder */
    struct buf data;
};

struct folder {
    struct file *files;
    size_t n, cap;
};

static void folder_done(struct folder *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->files[i].path);
        buf_done(&f->files[i].data);
    }
    free(f->files);
}

static struct file *folder_add(struct folder *f, const char *path)
{
    GROW(f->files, f->n, f->cap);
    f->files[f->n] = (struct file){ .path = xstrdup(path), .data = BUF_MAX(FILE_MAX) };
    return &f->files[f->n++];
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path);
}

static bool from_assets(const char *name, struct folder *f)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < nassets; i++)
        if (strncmp(assets[i].path, name, n) == 0 && assets[i].path[n] == '/')
            buf_add(&folder_add(f, assets[i].path + n + 1)->data, assets[i].data, assets[i].n);
    return f->n > 0;
}

static int from_dir(const char *root, const char *below, int depth, struct folder *f, struct err *e)
{
    cleanup(freep) char *path = xasprintf("%s/%s", root, below);
    DIR *d = opendir(path);
    struct dirent *de;
    int r = 0;

    if (!d)
        return err_set(e, -errno, "harness %s: %s", path, strerror(errno));
    while (r == 0 && (de = readdir(d))) {
        cleanup(freep) char *name = xasprintf("%s%s%s", below, *below ? "/" : "", de->d_name);
        cleanup(closep) int fd = -1;
        struct file *file;
        struct stat st;
        ssize_t n;

        if (de->d_name[0] == '.')
            continue;
        fd = openat(dirfd(d), de->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0) {
            r = err_set(e, -errno, "harness %s: %s: %s", root, name, strerror(errno));
        } else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
            r = from_dir(root, name, depth + 1, f, e);
        } else if (S_ISREG(st.st_mode)) {
            if (f->n == FILES_MAX || st.st_size > (off_t)FILE_MAX) {
                r = err_set(e, -E2BIG, "harness %s: more than %d files, or %s is above %zu KiB", root, FILES_MAX, name,
                            FILE_MAX >> 10);
                break;
            }
            file = folder_add(f, name);
            while ((n = read(fd, buf_room(&file->data, 4096) ? file->data.p + file->data.n : NULL, 4096)) > 0)
                file->data.n += (size_t)n;
            if (n < 0)
                r = err_set(e, -errno, "harness %s: %s: %s", root, name, strerror(errno));
        }
    }
    closedir(d);
    return r;
}

static const struct file *folder_find(const struct folder *f, const char *path)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->files[i].path, path) == 0)
            return &f->files[i];
    return NULL;
}

/* SHA-256 over every file in order of name: name, zero byte, length, bytes. */
static struct hash folder_hash(const struct folder *f)
{
    struct hashing h;

    hashing_init(&h);
    for (size_t i = 0; i < f->n; i++) {
        uint64_t n = f->files[i].data.n;
        uint8_t le[8];

        for (int b = 0; b < 8; b++)
            le[b] = (uint8_t)(n >> (8 * b));
        hashing_add(&h, f->files[i].path, strlen(f->files[i].path) + 1);
        hashing_add(&h, le, sizeof(le));
        hashing_add(&h, buf_str(&f->files[i].data).p, n);
    }
    return hashing_end(&h);
}

static int read_tool(const struct folder *f, struct str name, struct harness_tool *ret, struct err *e)
{
    cleanup(freep) char *path = xasprintf("tools/%.*s.json", STR(name));
    const struct file *file = folder_find(f, path);
    cleanup(json_unrefp) json_t *in = NULL, *out = json_object();
    static const char *const keys[] = { "description", "parameters" };
    ssize_t at;
    int r;

    ret->tool = tool_find(name);
    if (!ret->tool)
        return err_set(e, -ENOENT, "this rein has no tool '%.*s'", STR(name));
    if (!file)
        return err_set(e, -ENOENT, "the file %s is missing", path);
    r = js_parse(buf_str(&file->data), &in, e);
    if (r < 0)
        return err_prefix(e, r, "%s: ", path);
    json_object_set_new(out, "name", json_stringn(name.p, name.n));
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        json_t *v = json_object_get(in, keys[i]);

        if (!v)
            return err_set(e, -EBADMSG, "%s: \"%s\" is missing", path, keys[i]);
        json_object_set(out, keys[i], v);
    }
    ret->schema = json_incref(json_object_get(in, "parameters"));
    if (schema_types(ret->schema) != SCHEMA_OBJECT)
        return err_set(e, -EBADMSG, "%s: \"parameters\" is not the schema of an object", path);
    r = schema_known(ret->schema, e);
    if (r < 0)
        return err_prefix(e, r, "%s: ", path);
    ret->json = json_dumps(out, JSON_COMPACT | JSON_PRESERVE_ORDER);
    at = str_find(str_of(ret->json), LIT(",\"parameters\":"), 0);      /* inside a string its quotes would be escaped */
    ret->about = (struct str){ ret->json + 1, (size_t)at - 1 };
    ret->parameters = str_from(str_of(ret->json), (size_t)at + strlen(",\"parameters\":"));
    ret->parameters.n--;
    return 0;
}

/* Bounded above so that a result fits into an event even when every byte of it has to be escaped. */
static size_t result_size(const json_t *output, const char *key)
{
    return (size_t)MIN(MAX(js_int(output, key, 8000), (int64_t)500), (int64_t)64 << 10);
}

/* The tool that a model is given in place of one. */
static struct str tool_for(const json_t *models, const char *model, const char *tool)
{
    const json_t *swaps;
    const char *patterns;

    json_object_foreach((json_t *)models, patterns, swaps) {
        cleanup(freep) char *list = xstrdup(patterns);
        const json_t *other = json_object_get(swaps, tool);
        char *save = NULL;

        for (char *p = strtok_r(list, " ", &save); p && model && json_is_string(other); p = strtok_r(NULL, " ", &save))
            if (fnmatch(p, model, FNM_CASEFOLD) == 0)
                return str_of(json_string_value(other));
    }
    return str_of(tool);
}

static int read_harness(const struct folder *f, const char *model, struct harness *h, struct err *e)
{
    const struct file *main = folder_find(f, "harness.yaml");
    cleanup(json_unrefp) json_t *y = NULL;
    cleanup(buf_done) struct buf system = {0};
    const json_t *list, *item, *limits, *output;
    size_t i;
    int r;

    if (!main)
        return err_set(e, -ENOENT, "the file harness.yaml is missing");
    r = yaml_parse(buf_str(&main->data), &y, e);
    if (r < 0)
        return err_prefix(e, r, "harness.yaml: ");
    h->name = str_dup(js_str(y, "name"));
    h->version = js_int(y, "version", 0);
    if (!*h->name || h->version < 1)
        return err_set(e, -EBADMSG, "harness.yaml needs a name and a version from 1 on");

    list = json_object_get(y, "system");
    json_array_foreach(list, i, item) {
        const struct file *part = folder_find(f, json_is_string(item) ? json_string_value(item) : "");

        if (!part)
            return err_set(e, -ENOENT, "harness.yaml: system: file %zu of the list is missing", i + 1);
        buf_add_str(&system, buf_str(&part->data));
    }
    h->system = buf_take(&system);

    list = json_object_get(y, "plan");
    for (i = 0; i < ARRAY_SIZE(h->plan) && json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        const struct file *words = folder_find(f, name ? name : "");

        if (!words)
            return err_set(e, -ENOENT, "harness.yaml: plan: takes two files: what is said at its beginning, and after it");
        h->plan[i] = str_dup(str_trim(buf_str(&words->data)));
    }

    list = json_object_get(y, "tools");
    h->tools = xcalloc(json_array_size(list), sizeof(*h->tools));
    json_array_foreach(list, i, item) {
        if (!json_is_string(item))
            return err_set(e, -EBADMSG, "harness.yaml: tools: entry %zu is not a name", i + 1);
        r = read_tool(f, tool_for(json_object_get(y, "models"), model, json_string_value(item)), &h->tools[h->ntools++], e);
        if (r < 0)
            return r;
    }
    limits = json_object_get(y, "limits");
    h->limits.steps = js_int(limits, "steps", 0);
    h->limits.tokens = js_int(limits, "tokens", 0);
    h->limits.seconds = js_int(limits, "seconds", 0);
    output = json_object_get(y, "output");
    h->max_output = js_int(output, "answer_tokens", 0);
    h->result_head = result_size(output, "result_head");
    h->result_tail = result_size(output, "result_tail");
    h->fold_above = js_int(json_object_get(y, "context"), "fold_above", 0);
    h->shell_persists = js_bool(json_object_get(y, "shell"), "persistent", false);
    return 0;
}

int harness_load(const char *name, const char *model, struct harness **ret, struct err *e)
{
    cleanup(folder_done) struct folder f = {0};
    struct harness *h;
    int r;

    if (strchr(name, '/')) {
        r = from_dir(name, "", 0, &f, e);
        if (r < 0)
            return r;
        qsort(f.files, f.n, sizeof(*f.files), by_path);
    } else if (!from_assets(name, &f)) {
        return err_set(e, -ENOENT, "there is no harness '%s'; `rein doctor` lists the built-in ones, a folder needs a /",
                       name);
    }
    h = xcalloc(1, sizeof(*h));
    h->source = strchr(name, '/') ? realpath(name, NULL) : xstrdup(name);
    h->hash = folder_hash(&f);
    r = read_harness(&f, model, h, e);
    if (r < 0) {
        harness_free(h);
        return err_prefix(e, r, "harness %s: ", name);
    }
    *ret = h;
    return 0;
}

void harness_free(struct harness *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->ntools; i++) {
        json_decref(h->tools[i].schema);
        free(h->tools[i].json);
    }
    free(h->tools);
    free(h->system);
    for (size_t i = 0; i < ARRAY_SIZE(h->plan); i++)
        free(h->plan[i]);
    free(h->source);
    free(h->name);
    free(h);
}

char *harness_system(const struct harness *h, const char *cwd, int64_t created)
{
    struct str left = str_of(h->system);
    struct buf out = {0};
    time_t t = (time_t)(created / NS_PER_S);
    char date[32];
    struct tm tm;
    ssize_t at;

    strftime(date, sizeof(date), "%Y-%m-%d", gmtime_r(&t, &tm));
    while ((at = str_find(left, LIT("{{"), 0)) >= 0) {
        ssize_t end = str_find(left, LIT("}}"), (size_t)at);
        struct str name;

        if (end < 0)
            break;
        name = str_head(str_from(left, (size_t)at + 2), (size_t)(end - at) - 2);
        buf_add_str(&out, str_head(left, (size_t)at));
        buf_adds(&out, str_is(name, "cwd") ? cwd : str_is(name, "date") ? date : "");
        left = str_from(left, (size_t)end + 2);
    }
    buf_add_str(&out, left);
    return buf_take(&out);
}

const struct harness_tool *harness_tool(const struct harness *h, struct str name)
{
    static const struct str prefix = { "functions.", 10 };
    ssize_t mark = str_find(name, LIT("<"), 0);

    name = str_head(name, mark > 0 ? (size_t)mark : name.n);
    name = str_trim(name);
    if (name.n > prefix.n && memcmp(name.p, prefix.p, prefix.n) == 0)
        name = str_from(name, prefix.n);
    for (size_t i = 0; i < h->ntools; i++)
        if (strlen(h->tools[i].tool->name) == name.n && strncasecmp(h->tools[i].tool->name, name.p, name.n) == 0)
            return &h->tools[i];
    return NULL;
}
