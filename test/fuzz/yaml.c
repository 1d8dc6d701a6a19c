/* yaml.c - whatever stands in a harness or a configuration, it is read or refused with a sentence. */
#include "base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    json_t *j = NULL;
    struct err e = {0};

    if (yaml_parse((struct str){ (const char *)data, n }, &j, &e) < 0 && !e.msg[0])
        abort();
    json_decref(j);
    return 0;
}
