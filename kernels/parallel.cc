// A pool of threads that work through the pieces of a job together with the thread that brought it.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "tapkernels.h"

#ifndef _WIN32
#include <unistd.h>
#endif

namespace tapkernels {
namespace {

using Body = void (*)(const void*, std::int64_t, std::int64_t);

struct Job {
    Body body;
    const void* context;
    std::int64_t count, piece;
    std::atomic<std::int64_t> next{0};
    int helpers = 0;  // pool threads at work on this job; guarded by the mutex of the pool
    std::mutex error_mutex{};
    std::exception_ptr error{};

    void work() noexcept {
        for (;;) {
            const std::int64_t begin = next.fetch_add(piece, std::memory_order_relaxed);
            if (begin >= count) return;
            try {
                body(context, begin, std::min(begin + piece, count));
            } catch (...) {
                std::lock_guard<std::mutex> lock(error_mutex);
                if (!error) error = std::current_exception();
                next.store(count, std::memory_order_relaxed);
            }
        }
    }
};

class Pool {
   public:
    // The caller works too, so a job makes progress even when every thread of the pool is busy with other
    // jobs; invitations that nobody has taken up by then are withdrawn.
    void run(Job& job, int helpers) {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            helpers = std::min(helpers, grow(helpers));
            invitations_.insert(invitations_.end(), static_cast<std::size_t>(helpers), &job);
        }
        for (int i = 0; i < helpers; ++i) invited_.notify_one();
        job.work();
        std::unique_lock<std::mutex> lock(mutex_);
        invitations_.erase(std::remove(invitations_.begin(), invitations_.end(), &job), invitations_.end());
        finished_.wait(lock, [&] { return job.helpers == 0; });
    }

   private:
    // Where the system refuses a thread, those that there are do the work.
    int grow(int wanted) {
        try {
            for (; threads_ < wanted; ++threads_) std::thread([this] { serve(); }).detach();
        } catch (const std::system_error&) {
        }
        return threads_;
    }

    void serve() {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            invited_.wait(lock, [&] { return !invitations_.empty(); });
            Job* job = invitations_.front();
            invitations_.pop_front();
            ++job->helpers;
            lock.unlock();
            job->work();
            lock.lock();
            if (--job->helpers == 0) finished_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable invited_, finished_;
    std::deque<Job*> invitations_;
    int threads_ = 0;
};

#ifdef _WIN32
int process_id() {
    return 0;
}  // nothing forks
#else
int process_id() {
    return static_cast<int>(getpid());
}
#endif

struct OwnedPool {
    int owner;
    Pool pool;
};

// Never destroyed: its threads may still wait in it while the process exits. A forked child has none of those
// threads, and perhaps a locked mutex, so it starts a pool of its own.
Pool& pool() {
    static std::atomic<OwnedPool*> shared{nullptr};
    OwnedPool* current = shared.load(std::memory_order_acquire);
    while (!current || current->owner != process_id()) {
        OwnedPool* fresh = new OwnedPool{process_id(), {}};
        if (shared.compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) return fresh->pool;
        delete fresh;
    }
    return current->pool;
}

constexpr std::align_val_t kAlignment{64};

}  // namespace

int default_threads() {
    return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
}

void parallel_for(std::int64_t count, std::int64_t grain, std::int64_t threads, Body body,
                  const void* context) {
    if (count <= 0) return;
    const std::int64_t pieces = std::max<std::int64_t>(count / std::max<std::int64_t>(grain, 1), 1);
    const int workers = static_cast<int>(std::min(threads, pieces));
    if (workers <= 1) {
        body(context, 0, count);
        return;
    }
    // Several pieces per worker even out their speeds: another process may hold one of the cores.
    const std::int64_t wanted = std::min<std::int64_t>(pieces, 4 * static_cast<std::int64_t>(workers));
    Job job{body, context, count, (count + wanted - 1) / wanted};
    pool().run(job, workers - 1);
    if (job.error) std::rethrow_exception(job.error);
}

Scratch::Scratch(std::int64_t bytes)
    : data(::operator new(static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1)), kAlignment)) {}

Scratch::~Scratch() {
    ::operator delete(data, kAlignment);
}

}  // namespace tapkernels
