// Tracks as scenario.json in the working directory says, through frames.rgb, and prints [[id, x, y, confidence], ...].

import java.io.File
import org.json.JSONArray
import org.json.JSONObject
import org.tapsdk.examples.Frame
import org.tapsdk.examples.TapTracker

fun main() {
    val scenario = JSONObject(File("scenario.json").readText())
    val (height, width) = scenario.getJSONArray("size").let { it.getInt(0) to it.getInt(1) }
    val video = File("frames.rgb").readBytes()
    val tracker = TapTracker(File("artifact"))
    for (t in 0 until scenario.getInt("frames")) {
        val points = scenario.getJSONObject("add").optJSONArray("$t") ?: JSONArray()
        tracker.add(List(points.length()) { points.getJSONArray(it).let { xy -> xy.getDouble(0) to xy.getDouble(1) } })
        val gone = scenario.getJSONObject("remove").optJSONArray("$t") ?: JSONArray()
        tracker.remove(List(gone.length()) { gone.getInt(it) }.toSet())
        val argb = IntArray(height * width) { pixel ->
            val (red, green, blue) = List(3) { video[3 * (t * height * width + pixel) + it].toInt() and 255 }
            (255 shl 24) or (red shl 16) or (green shl 8) or blue
        }
        println(tracker.step(Frame(width, height, argb)).map { listOf(it.id, it.x, it.y, it.confidence) })
    }
    tracker.close()
}
