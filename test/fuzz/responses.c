#include "../../src/provider/responses.c"
#include "stream.h"

size_t fuzz_cuts(const uint8_t *data, size_t n);

size_t fuzz_cuts(const uint8_t *data, size_t n)
{
    return equal_cuts(&responses_form, (struct str){ (const char *)data, n });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return play(&responses_form, &provider_responses, data, n);
}
