#include "../../src/provider/gemini.c"
#include "stream.h"

size_t fuzz_cuts(const uint8_t *data, size_t n);

size_t fuzz_cuts(const uint8_t *data, size_t n)
{
    return equal_cuts(&gemini_form, (struct str){ (const char *)data, n });
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return play(&gemini_form, &provider_gemini, data, n);
}
