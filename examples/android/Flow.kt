// Points follow the picture from frame to frame, and the model pulls them to where it recognises them: TapTracker.kt
// does this where the manifest has an entry `flow`. Without it, points are where the model says.
//
// The numbers are those of Python: of `tapsdk.runtime.flow`, by pyramidal Lucas-Kanade (Lucas and Kanade 1981; Bouguet
// 2001) as in `tapkernels.reference`. A test of this project shows it on a JVM (tests/examples/test_phones.py), with
// the table tests/golden/flow_cases.json.

package org.tapsdk.examples

import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.hypot
import kotlin.math.max
import kotlin.math.min
import kotlin.math.pow
import org.json.JSONObject

private const val ITERATIONS = 8
private const val LONGEST = 2.0 // pixels; no step is longer
private const val FLAT = 1e-3 // squared gradient of a window that is too flat to be followed
private const val SMALLEST = 16 // a level with a shorter side is the last one of its pyramid
private val BINOMIAL = floatArrayOf(1 / 16f, 4 / 16f, 6 / 16f, 4 / 16f, 1 / 16f)

/** (0, 0) is the outer corner of the top-left pixel. */
internal data class Place(val x: Double, val y: Double)

/** (height, width) of a space that positions are in. */
internal data class Space(val height: Double, val width: Double)

/** Where the picture takes a point, and by how many pixels of the frame the way back leads past its start. */
internal data class Followed(val place: Place, val missed: Double)

/** Where a model sees a point, the probability that it is seen, and near there if it is. */
internal data class Sighting(val place: Place, val seen: Double, val near: Double)

/** Where a point is, and how sure that is. */
internal data class Fused(val place: Place, val certainty: Double)

/** Of a ramp: where a weight begins to change, and where it is through. Otherwise: what changes with such a weight. */
internal class Ends(private val first: Double, private val last: Double) {
    /** From 0 to 1 between the two. */
    fun share(value: Double) = ((value - first) / (last - first)).coerceIn(0.0, 1.0)

    /** From the first to the last. */
    fun at(share: Double) = first + (last - first) * share
}

/** The entry of that name in the manifest: `tapsdk.artifact.manifest.FlowFusion` says what each number is. */
internal class FlowFusion(entry: JSONObject) {
    private val radius: Int = entry.getInt("radius")
    private val levels: Int = entry.getInt("levels")
    private val slip: Ends = ends(entry, "slip")
    private val shown: Ends = ends(entry, "shown")
    private val pull: Double = entry.getDouble("pull")
    private val sure: Ends = ends(entry, "sure")
    private val leap: Ends = ends(entry, "leap")
    private val apart: Ends = ends(entry, "apart")
    private val texture: Ends = ends(entry, "texture")
    private val doubt: Ends = ends(entry, "doubt")
    val hidden: String = entry.getString("hidden")
    private val weights = gaussian(radius)

    /** Luminance of a frame [height, width, 3] from -1 to 1, at full size and halved again and again. */
    fun pyramid(pixels: FloatArray, height: Int, width: Int): List<Luminance> {
        val luminance = FloatArray(height * width) {
            0.299f * pixels[3 * it] + 0.587f * pixels[3 * it + 1] + 0.114f * pixels[3 * it + 2]
        }
        val images = mutableListOf(Luminance(luminance, height, width))
        while (images.size < levels && min(images.last().height, images.last().width) >= SMALLEST) {
            images += images.last().halved()
        }
        return images
    }

    /**
     * Where a point goes from one frame to the next, as far as the picture tells.
     *
     * before, after: pyramids; between two sizes nothing can be followed. xy: in `space`, as is what comes back.
     */
    fun follow(before: List<Luminance>, after: List<Luminance>, xy: Place, space: Space): Followed {
        val (first, second) = before.first() to after.first()
        if (first.height != second.height || first.width != second.width) {
            return Followed(xy, Double.POSITIVE_INFINITY)
        }
        val (scaleX, scaleY) = second.width / space.width to second.height / space.height
        val (end, missed) = thereAndBack(before, after, Place(xy.x * scaleX, xy.y * scaleY))
        return Followed(Place(end.x / scaleX, end.y / scaleY), missed)
    }

    /** In pixels. What is missed is infinite for a point that begins or ends outside the frame. */
    private fun thereAndBack(before: List<Luminance>, after: List<Luminance>, start: Place): Followed {
        if (start !in before.first()) return Followed(start, Double.POSITIVE_INFINITY)
        val end = descend(before, after, start)
        if (end !in after.first()) return Followed(end, Double.POSITIVE_INFINITY)
        val back = descend(after, before, end)
        return Followed(end, hypot(back.x - start.x, back.y - start.y))
    }

    /**
     * How well the picture around a point tells its place from those beside it; 0 on an even surface.
     *
     * The smaller eigenvalue of the structure tensor (Shi and Tomasi 1994), on the level of the pyramid that has most.
     * xy: in `space`.
     */
    fun textureAround(pyramid: List<Luminance>, xy: Place, space: Space): Double {
        val (height, width) = pyramid.first().height to pyramid.first().width
        val point = Place(xy.x * width / space.width, xy.y * height / space.height)
        return pyramid.indices.map { leastStructure(pyramid[it], placeIn(it, point)) }.fold(0.0) { a, b -> max(a, b) }
    }

    /**
     * Between where the picture took a point and where the model sees it. One that joins has missed nothing yet.
     *
     * around: texture of the picture around the point where it was asked for.
     */
    fun fuse(followed: Followed, around: Double, sighting: Sighting): Fused {
        val (start, missed) = followed
        val (target, seen, near) = sighting
        val away = Place(target.x - start.x, target.y - start.y)
        val distance = hypot(away.x, away.y)
        val trust = (1 - slip.share(missed)) * shown.share(seen)
        val leaps = apart.share(distance) * leap.share(seen * near)
        val share = 1 - trust * (1 - max(leaps, pull * sure.share(seen * near)))
        val agreement = 1 - apart.share((1 - share) * distance)
        val certainty = seen * near.pow(doubt.at(texture.share(around))) * agreement
        return Fused(Place(start.x + share * away.x, start.y + share * away.y), certainty)
    }

    /** Where a point of one frame is in another: matched on the smallest images first, then on larger ones. */
    private fun descend(before: List<Luminance>, after: List<Luminance>, point: Place): Place {
        var moved = Place(0.0, 0.0) // pixels of the level
        for (level in before.indices.reversed()) {
            val start = placeIn(level, point)
            val guess = Place(start.x + 2 * moved.x, start.y + 2 * moved.y)
            val end = match(before[level], after[level], start, guess)
            moved = Place(end.x - start.x, end.y - start.y)
        }
        return Place(point.x + moved.x, point.y + moved.y)
    }

    /** Where a point of the frame is in a level of its pyramid. */
    private fun placeIn(level: Int, point: Place): Place {
        // Halving keeps the first of every two pixels: the centre of the first one of all stays in place.
        val scale = 1.0 / (1 shl level)
        return Place((point.x - 0.5) * scale + 0.5, (point.y - 0.5) * scale + 0.5)
    }

    /** Where the window of `before` around `start` is in `after`, near `guess`: Gauss-Newton on its slopes. */
    private fun match(before: Luminance, after: Luminance, start: Place, guess: Place): Place {
        val (window, slopeX, slopeY) = describe(before, start)
        val structure = structureOf(slopeX, slopeY)
        val (xx, xy, yy) = Structure(structure.xx + FLAT, structure.xy, structure.yy + FLAT)
        val determinant = xx * yy - xy * xy
        var (x, y) = guess
        for (iteration in 0 until ITERATIONS) {
            val now = after.sample(Place(x, y), radius)
            var (pullX, pullY) = Place(0.0, 0.0)
            for (i in window.indices) {
                val difference = weights[i] * (window[i] - now[i])
                pullX += difference * slopeX[i]
                pullY += difference * slopeY[i]
            }
            val stepX = (yy * pullX - xy * pullY) / determinant
            val stepY = (xx * pullY - xy * pullX) / determinant
            val length = hypot(stepX, stepY)
            val share = min(1.0, LONGEST / length)
            x += share * stepX
            y += share * stepY
        }
        return Place(x, y)
    }

    /**
     * The window around a point, and how it changes along x and along y: less the mean, so that a change of light that
     * is the same all over the window drops out.
     */
    private fun describe(image: Luminance, at: Place): List<FloatArray> {
        val around = image.sample(at, radius + 1)
        val side = 2 * radius + 1
        val row = side + 2
        val inner = IntArray(side * side) { (it / side + 1) * row + it % side + 1 }
        val window = FloatArray(inner.size) { around[inner[it]] }
        val slopeX = FloatArray(inner.size) { (around[inner[it] + 1] - around[inner[it] - 1]) / 2 }
        val slopeY = FloatArray(inner.size) { (around[inner[it] + row] - around[inner[it] - row]) / 2 }
        for (slope in listOf(slopeX, slopeY)) {
            var mean = 0.0
            for (i in slope.indices) mean += weights[i] * slope[i]
            for (i in slope.indices) slope[i] -= mean.toFloat()
        }
        return listOf(window, slopeX, slopeY)
    }

    /** The structure tensor of a window: means of the products of its slopes. */
    private fun structureOf(slopeX: FloatArray, slopeY: FloatArray): Structure {
        var (xx, xy, yy) = Structure(0.0, 0.0, 0.0)
        for (i in weights.indices) {
            xx += weights[i] * slopeX[i] * slopeX[i]
            xy += weights[i] * slopeX[i] * slopeY[i]
            yy += weights[i] * slopeY[i] * slopeY[i]
        }
        return Structure(xx, xy, yy)
    }

    /** The smaller eigenvalue of the structure tensor around a point. */
    private fun leastStructure(image: Luminance, at: Place): Double {
        // Beyond an edge by more than a window, the picture is the same everywhere.
        val beyond = radius + 2.0
        val x = if (at.x.isNaN()) 0.0 else at.x.coerceIn(-beyond, image.width + beyond)
        val y = if (at.y.isNaN()) 0.0 else at.y.coerceIn(-beyond, image.height + beyond)
        val (_, slopeX, slopeY) = describe(image, Place(x, y))
        val (xx, xy, yy) = structureOf(slopeX, slopeY)
        return (xx + yy - hypot(xx - yy, 2 * xy)) / 2
    }
}

private data class Structure(val xx: Double, val xy: Double, val yy: Double)

/** values: [height, width]. It goes on with its outermost pixels beyond its edges. */
internal class Luminance(private val values: FloatArray, val height: Int, val width: Int) {
    /** False for what is not a number. */
    operator fun contains(at: Place) = at.x >= 0 && at.y >= 0 && at.x <= width && at.y <= height

    /** Every second pixel, the first of them included, of a binomial filter. */
    fun halved(): Luminance {
        val (halfHeight, halfWidth) = listOf((height + 1) / 2, (width + 1) / 2)
        val half = FloatArray(halfHeight * halfWidth)
        val row = FloatArray(width)
        for (y in 0 until halfHeight) {
            row.fill(0f)
            for (k in 0 until 5) {
                val start = (2 * y + k - 2).coerceIn(0, height - 1) * width
                for (x in 0 until width) row[x] += BINOMIAL[k] * values[start + x]
            }
            for (x in 0 until halfWidth) {
                for (k in 0 until 5) {
                    half[y * halfWidth + x] += BINOMIAL[k] * row[(2 * x + k - 2).coerceIn(0, width - 1)]
                }
            }
        }
        return Luminance(half, halfHeight, halfWidth)
    }

    /** [2 radius + 1, 2 radius + 1] linear samples around a point. */
    fun sample(at: Place, radius: Int): FloatArray {
        val side = 2 * radius + 1
        val (left, top) = listOf(floor(at.x - 0.5), floor(at.y - 0.5))
        val (right, below) = listOf((at.x - 0.5 - left).toFloat(), (at.y - 0.5 - top).toFloat())
        val columns = IntArray(side + 1) { (left.toInt() - radius + it).coerceIn(0, width - 1) }
        val rows = IntArray(side + 1) { (top.toInt() - radius + it).coerceIn(0, height - 1) * width }
        val out = FloatArray(side * side)
        for (j in 0 until side) {
            for (i in 0 until side) {
                val (a, b) = columns[i] to columns[i + 1]
                val upper = values[rows[j] + a] * (1 - right) + values[rows[j] + b] * right
                val lower = values[rows[j + 1] + a] * (1 - right) + values[rows[j + 1] + b] * right
                out[j * side + i] = upper * (1 - below) + lower * below
            }
        }
        return out
    }
}

private fun ends(entry: JSONObject, name: String) =
    entry.getJSONArray(name).let { Ends(it.getDouble(0), it.getDouble(1)) }

/** Weights [2 radius + 1, 2 radius + 1] of a window, with a sum of 1; sigma is half the radius. */
private fun gaussian(radius: Int): DoubleArray {
    val side = 2 * radius + 1
    val bell = DoubleArray(side) { exp(-2.0 * (it - radius) * (it - radius) / (radius * radius)) }
    val sum = bell.sum()
    return DoubleArray(side * side) { bell[it / side] * bell[it % side] / (sum * sum) }
}
