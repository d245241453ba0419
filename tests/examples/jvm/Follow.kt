// Follows the points of pair.json in the working directory through pair.f4, and prints [[x, y, missed], ...].

package org.tapsdk.examples

import java.io.DataInputStream
import java.io.File
import org.json.JSONObject

fun main() {
    val pair = JSONObject(File("pair.json").readText())
    val (height, width) = pair.getJSONArray("size").let { it.getInt(0) to it.getInt(1) }
    val following = Following(pair.getInt("radius"), pair.getInt("levels"), 1.0, 0.0, 0.0, 1.0)
    val numbers = DataInputStream(File("pair.f4").inputStream().buffered())
    val (before, after) = List(2) {
        following.pyramid(FloatArray(height * width * 3) { numbers.readFloat() }, height, width)
    }
    println(List(pair.getInt("points")) {
        val (x, y) = numbers.readFloat().toDouble() to numbers.readFloat().toDouble()
        val (place, missed) = following.follow(before, after, Place(x, y))
        listOf(place.x, place.y, missed)
    })
}
