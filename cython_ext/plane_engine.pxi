# SPDX-License-Identifier: MIT

cdef class Engine:
    def __cinit__(self, *_args, **_named):
        self.work.owner = <PyObject *>self

    @property
    def counters(self):
        return {}

    @property
    def watched(self):
        return ()

    @property
    def kicks(self):
        return self.work.kicks

    @property
    def rounds(self):
        return self.work.rounds

    def serve(self):
        cdef int done
        if self.worker is not None:
            raise RuntimeError("the engine belongs to a worker; only its thread may serve")
        if self.window is not None:
            self.window.check_open()
        done = self.work.serve(self.work.context)
        if done < 0:
            self.work.stopped = True
            self.check()
        return done

    def settle(self):
        if self.work.finish is not NULL:
            with nogil:
                self.work.finish(self.work.context)

    def check(self):
        if self.failure is not None:
            raise self.failure


cdef void engine_report(plane_engine *work) noexcept with gil:
    """Tell whoever attached it that an engine cannot go on; on the worker's thread."""
    cdef Engine engine = <Engine>work.owner
    if engine.on_stopped is not None:
        engine.on_stopped()
