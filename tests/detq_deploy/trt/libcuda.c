/* The part of libcuda that the driver is asked through, for a machine of this many GPUs. */
#include <stddef.h>
#include <string.h>

#ifndef RESULT
#define RESULT 0
#endif
#ifndef GPUS
#define GPUS 2
#endif

int cuInit(unsigned flags) { return flags == 0 ? RESULT : 1; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetCount(int *count) { *count = GPUS; return 0; }
int cuDeviceGet(int *device, int index) { *device = 40 + index; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    strncpy(name, device == 40 ? "Orin" : "NVIDIA L4", size);
    return 0;
}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = (size_t)(device == 40 ? 30 : 24) << 30;
    return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? (device == 40 ? 7 : 9) : -1;
    return 0;
}
