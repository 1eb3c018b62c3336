/* The functions of CUDA's runtime that detq calls, on the host's memory: no GPU is simulated but its
 * manners. Copies and kernels wait in the stream until it is synchronized, pointers are checked, the
 * default stream is refused, and what was not given back is counted. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID = 1, NO_MEMORY = 2, NOT_READY = 600, CAPTURING = 900, LAUNCH = 719 };
enum { BLOCKS = 256, STEPS = 4096, GRAPHS = 16 };

typedef int (*work_t)(void *);
typedef struct { char *address; size_t size; int pinned; } block_t;
typedef struct { void *target, *source; size_t size; work_t work; void *given; double *event; } step_t;
typedef struct { step_t steps[STEPS]; int count; } list_t;

static block_t blocks[BLOCKS];
static list_t stream, graphs[GRAPHS], *capture;
static int streams, events, graphs_live, graphs_made;
static size_t room = SIZE_MAX, used;
static double now;
static int stream_handle;
#define STREAM ((void *)&stream_handle)


static block_t *holding(const void *address, size_t size, int pinned) {
  for (int i = 0; i < BLOCKS; i++) {
    char *start = blocks[i].address, *wanted = (char *)address;
    if (start && blocks[i].pinned == pinned && wanted >= start && wanted + size <= start + blocks[i].size)
      return &blocks[i];
  }
  return NULL;
}

static int take(void **address, size_t size, int pinned) {
  if (!pinned && used + size > room) return NO_MEMORY;
  for (int i = 0; i < BLOCKS; i++)
    if (!blocks[i].address) {
      blocks[i] = (block_t){memset(malloc(size), 0xA5, size), size, pinned};
      if (!pinned) used += size;
      *address = blocks[i].address;
      return SUCCESS;
    }
  return NO_MEMORY;
}

static int give_back(void *address, int pinned) {
  block_t *block = holding(address, 0, pinned);
  if (!block || block->address != (char *)address) return INVALID;
  if (!pinned) used -= block->size;
  free(block->address);
  block->address = NULL;
  return SUCCESS;
}

static int add(void *in, step_t step) {
  list_t *list = capture ? capture : &stream;
  if (in != STREAM || !streams || list->count == STEPS) return INVALID;
  list->steps[list->count++] = step;
  return SUCCESS;
}

int cudaMalloc(void **address, size_t size) { return take(address, size, 0); }
int cudaFree(void *address) { return give_back(address, 0); }
int cudaHostAlloc(void **address, size_t size, unsigned flags) { return flags ? INVALID : take(address, size, 1); }
int cudaFreeHost(void *address) { return give_back(address, 1); }
int cudaMemGetInfo(size_t *left, size_t *all) {
  *all = room, *left = room - used;
  return SUCCESS;
}

int cudaStreamCreateWithFlags(void **made, unsigned flags) {
  if (flags != 1 || streams) return INVALID; /* one stream, and it does not wait for the default one */
  streams = 1, *made = STREAM;
  return SUCCESS;
}
int cudaStreamDestroy(void *gone) {
  if (gone != STREAM || !streams) return INVALID;
  streams = 0, stream.count = 0;
  return SUCCESS;
}

int cudaMemcpyAsync(void *target, const void *source, size_t size, int kind, void *in) {
  int inward = kind == 1;
  if (kind != 1 && kind != 2) return INVALID;
  if (!holding(inward ? target : source, size, 0) || !holding(inward ? source : target, size, 1)) return INVALID;
  return add(in, (step_t){.target = target, .source = (void *)source, .size = size});
}

int cudaStreamSynchronize(void *in) {
  if (in != STREAM || capture) return capture ? CAPTURING : INVALID;
  int failed = SUCCESS;
  for (int i = 0; i < stream.count; i++) {
    step_t *step = &stream.steps[i];
    now += 0.25; /* milliseconds: every step takes as long */
    if (step->event) *step->event = now;
    else if (!step->work) memcpy(step->target, step->source, step->size);
    else if (step->work(step->given)) failed = LAUNCH;
  }
  stream.count = 0;
  return failed;
}

int cudaEventCreate(void **made) {
  double *event = malloc(sizeof *event);
  *event = -1, *made = event, events++;
  return SUCCESS;
}
int cudaEventRecord(void *event, void *in) { return add(in, (step_t){.event = event}); }
int cudaEventElapsedTime(float *ms, void *start, void *end) {
  double first = *(double *)start, last = *(double *)end;
  if (first < 0 || last < 0) return NOT_READY;
  *ms = (float)(last - first);
  return SUCCESS;
}
int cudaEventDestroy(void *event) {
  free(event), events--;
  return SUCCESS;
}

int cudaStreamBeginCapture(void *in, int mode) {
  if (in != STREAM || capture || mode != 1 || graphs_made == GRAPHS) return INVALID;
  capture = &graphs[graphs_made++];
  return SUCCESS;
}
int cudaStreamEndCapture(void *in, void **graph) {
  if (in != STREAM || !capture) return INVALID;
  *graph = capture, capture = NULL, graphs_live++;
  return SUCCESS;
}
int cudaGraphInstantiateWithFlags(void **runnable, void *graph, unsigned long long flags) {
  if (flags) return INVALID;
  *runnable = graph, graphs_live++;
  return SUCCESS;
}
int cudaGraphDestroy(void *graph) { return graphs_live--, graph ? SUCCESS : INVALID; }
int cudaGraphExecDestroy(void *graph) { return graphs_live--, graph ? SUCCESS : INVALID; }
int cudaGraphLaunch(void *graph, void *in) {
  list_t *list = graph;
  for (int i = 0; i < list->count; i++)
    if (add(in, list->steps[i])) return INVALID;
  return SUCCESS;
}

const char *cudaGetErrorString(int status) {
  switch (status) {
    case SUCCESS: return "no error";
    case INVALID: return "invalid argument";
    case NO_MEMORY: return "out of memory";
    case NOT_READY: return "device not ready";
    case CAPTURING: return "operation not permitted when stream is capturing";
    default: return "unspecified launch failure";
  }
}

/* For tests: what a kernel does when its turn comes, how much memory there is, what is left. */
int host_launch(void *in, work_t work, void *given) { return add(in, (step_t){.work = work, .given = given}); }
void host_room(size_t bytes) { room = bytes; }
int host_left(void) {
  int left = streams + events + graphs_live;
  for (int i = 0; i < BLOCKS; i++) left += blocks[i].address != NULL;
  return left;
}
int host_waiting(void) { return stream.count; }
