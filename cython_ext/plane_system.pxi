# SPDX-License-Identifier: MIT
# What the workers use of the C library. None of it needs the GIL.

cdef extern from "plane.h" nogil:
    void iv_relax()
    int64_t iv_now()


cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)
    int pthread_cond_init(pthread_cond_t *condition, const void *attributes)
    int pthread_cond_destroy(pthread_cond_t *condition)
    int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex)
    int pthread_cond_broadcast(pthread_cond_t *condition)


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void *ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int most, int milliseconds)
    int EPOLL_CLOEXEC
    int EPOLL_CTL_ADD
    int EPOLL_CTL_MOD
    int EPOLL_CTL_DEL
    uint32_t EPOLLIN
    uint32_t EPOLLET


cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int count, int flags)
    int eventfd_write(int fd, uint64_t value)
    int EFD_CLOEXEC
    int EFD_NONBLOCK


cdef extern from "<unistd.h>" nogil:
    int close(int fd)


cdef extern from "<fcntl.h>" nogil:
    int fcntl(int fd, int command, ...)
    int F_DUPFD_CLOEXEC


cdef int duplicate(int fd) except -1:
    """The same file under a number of our own, which nobody else closes."""
    cdef int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3)
    if copy < 0:
        raise OSError(errno, os.strerror(errno))
    return copy
