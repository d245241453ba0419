// Says of the table of cases in the first argument what tests/golden/flow_cases.py calls Answers, as JSON.

import java.io.File
import java.util.Base64
import org.json.JSONArray
import org.json.JSONObject
import org.tapsdk.examples.FlowFusion
import org.tapsdk.examples.Followed
import org.tapsdk.examples.Fused
import org.tapsdk.examples.Luminance
import org.tapsdk.examples.Place
import org.tapsdk.examples.Sighting
import org.tapsdk.examples.Space

object FlowCases {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val table = JSONObject(File(arguments[0]).readText())
        val pictures = table.getJSONObject("pictures")
        val follow = table.getJSONArray("follow").objects().map { case ->
            val flow = flowOf(case)
            val (before, after) = listOf("before", "after").map {
                pyramid(flow, pictures.getJSONObject(case.getString(it)))
            }
            val space = case.getJSONArray("space").let { Space(it.getDouble(0), it.getDouble(1)) }
            val points = case.getJSONArray("points").objects()
            val moved = points.map { flow.follow(before, after, place(it, "xy"), space) }
            val texture = points.map { flow.textureAround(before, place(it, "xy"), space) }
            val fused = points.indices.map { fuse(flow, moved[it], texture[it], points[it]) }
            val (places, missed) = moved.map { it.place.numbers() } to moved.map { number(it.missed) }
            answers(fused) + mapOf("moved" to places, "missed" to missed, "texture" to texture)
        }
        val fuse = table.getJSONArray("fuse").objects().map { case ->
            val fused = case.getJSONArray("points").objects().map { point ->
                val missed = if (point.isNull("missed")) Double.POSITIVE_INFINITY else point.getDouble("missed")
                fuse(flowOf(case), Followed(place(point, "followed"), missed), point.getDouble("texture"), point)
            }
            answers(fused)
        }
        println(JSONObject(mapOf("follow" to follow, "fuse" to fuse)))
    }

    private fun flowOf(case: JSONObject) = FlowFusion(case.getJSONObject("flow"))

    private fun pyramid(flow: FlowFusion, picture: JSONObject): List<Luminance> {
        val (height, width) = picture.getJSONArray("size").let { it.getInt(0) to it.getInt(1) }
        val rows = picture.getJSONArray("rows")
        val bytes = List(height) { Base64.getDecoder().decode(rows.getString(it)).toList() }.flatten()
        return flow.pyramid(FloatArray(bytes.size) { (bytes[it].toInt() and 255) / 127.5f - 1 }, height, width)
    }

    private fun fuse(flow: FlowFusion, from: Followed, texture: Double, point: JSONObject) = flow.fuse(
        from, texture, Sighting(place(point, "estimate"), point.getDouble("seen"), point.getDouble("near"))
    )

    private fun answers(fused: List<Fused>) = mapOf(
        "fused" to fused.map { it.place.numbers() }, "certainty" to fused.map { number(it.certainty) }
    )

    private fun place(point: JSONObject, name: String) = point.getJSONArray(name).let {
        Place(it.optDouble(0), it.optDouble(1)) // NaN for null
    }

    private fun Place.numbers() = listOf(number(x), number(y))

    private fun number(value: Double): Any = if (value.isNaN() || value.isInfinite()) JSONObject.NULL else value

    private fun JSONArray.objects() = List(length()) { getJSONObject(it) }
}
