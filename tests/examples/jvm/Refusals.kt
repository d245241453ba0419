// What a tracker says of each artifact directory among the arguments, a line each; empty: nothing.

import java.io.File
import org.tapsdk.examples.TapTracker

object Refusals {
    @JvmStatic
    fun main(arguments: Array<String>) = arguments.forEach { println(complaint(File(it))) }

    private fun complaint(artifact: File) = try {
        TapTracker(artifact).close()
        ""
    } catch (error: IllegalArgumentException) {
        error.message
    }
}
