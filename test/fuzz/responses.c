#include "../../src/provider/responses.c"
#include "stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return play(&responses_form, &provider_responses, data, n);
}
