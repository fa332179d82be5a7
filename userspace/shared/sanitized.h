/* sanitized.h: is this built with AddressSanitizer? It maps terabytes that it never touches, so
 * RLIMIT_AS must stay away, and takes signals of its own. */
#ifndef FG_SHARED_SANITIZED_H
#define FG_SHARED_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) /* gcc */
#define FG_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) /* clang 14 has this alone */
#define FG_SANITIZED 1
#endif
#endif
#ifndef FG_SANITIZED
#define FG_SANITIZED 0
#endif

#endif
